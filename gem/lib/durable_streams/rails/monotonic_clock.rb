# frozen_string_literal: true

module DurableStreams
  module Rails
    # The time for intervals, which no change of the machine's clock affects.
    module MonotonicClock # :nodoc:
      # In seconds.
      def self.now
        Process.clock_gettime(Process::CLOCK_MONOTONIC)
      end
    end
  end
end
