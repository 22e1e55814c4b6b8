# frozen_string_literal: true

module DurableStreams
  class Worker
    # Growing pauses between attempts, with jitter so that workers do not return to a
    # server at once.
    class Backoff # :nodoc:
      PAUSES = 0.5..30

      def initialize
        reset
      end

      def reset
        @failures = 0
      end

      # In seconds.
      def next
        pause = [ PAUSES.first * 2**[ @failures, 10 ].min, PAUSES.last ].min
        @failures += 1
        pause * rand(0.5..1.0)
      end
    end
  end
end
