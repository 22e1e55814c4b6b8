# frozen_string_literal: true

# Spares threads a server that has just failed: after a failure nobody tries for
# some seconds, then one thread does.
class DurableStreams::Rails::CircuitBreaker # :nodoc:
  # The longest that a server's Retry-After is followed, in seconds.
  MAX_PAUSE = 60

  def initialize(pause:)
    @pause = pause
    @open_until = nil
    @mutex = Mutex.new
  end

  # Whether to try. Of the threads that ask when the pause is over, one.
  def allow?
    return true unless @open_until

    @mutex.synchronize do
      return true unless @open_until
      (now >= @open_until).tap { |over| @open_until = now + @pause if over }
    end
  end

  def open(retry_after: nil)
    @mutex.synchronize { @open_until = now + [ @pause, retry_after.to_f ].max.clamp(0, MAX_PAUSE) }
  end

  def close
    @mutex.synchronize { @open_until = nil } if @open_until
  end

  private
    def now
      Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
end
