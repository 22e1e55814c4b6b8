# frozen_string_literal: true

module DurableStreams
  module Rails
    # Suspends requests to a server that has just failed. After a pause, one thread
    # tries again.
    class CircuitBreaker # :nodoc:
      # The longest pause, in seconds, that a server can ask for.
      MAX_PAUSE = 60

      def initialize(pause:)
        @pause = pause
        @open_until = nil
        @mutex = Mutex.new
      end

      # Whether a request may be sent. After the pause, true for one thread only.
      def allow?
        return true unless @open_until

        @mutex.synchronize do
          return true unless @open_until
          (MonotonicClock.now >= @open_until).tap { |over| @open_until = MonotonicClock.now + @pause if over }
        end
      end

      def open(retry_after: nil)
        @mutex.synchronize { @open_until = MonotonicClock.now + [ @pause, retry_after.to_f ].max.clamp(0, MAX_PAUSE) }
      end

      def close
        @mutex.synchronize { @open_until = nil } if @open_until
      end
    end
  end
end
