# frozen_string_literal: true

module DurableStreams
  module Rails
    # The time since the server became unavailable. Requests are retried until it has
    # lasted for +patience+ seconds: a deploy is ridden through, and a long outage
    # costs each thread this time once.
    class Outage # :nodoc:
      def initialize(patience:)
        @patience = patience
        @began_at = @last_failure_at = nil
        @mutex = Mutex.new
      end

      # Notes a failure of a request that began at +started_at+ and returns the seconds
      # for which it may still be retried.
      def time_left(started_at)
        at = MonotonicClock.now
        @mutex.synchronize do
          @began_at = started_at if @began_at.nil? || at - @last_failure_at > @patience
          @last_failure_at = at
          [ started_at, @began_at ].min + @patience - at
        end
      end

      # The server has responded.
      def over
        @mutex.synchronize { @began_at = nil } if @began_at
      end
    end
  end
end
