# frozen_string_literal: true

require "concurrent/map"

# Remembers when the app deleted which stream, so that a job that was made
# before does not bring the stream back. Other processes learn of it by
# <tt>Rails.cache</tt>; where that is not shared, each process knows its own.
module DurableStreams::Rails::StreamDeletions # :nodoc:
  # Longer than a job goes on trying.
  REMEMBERED_FOR = 1.day

  MAX_REMEMBERED = 10_000

  class << self
    # Seconds since the epoch, comparable between processes.
    def now
      Process.clock_gettime(Process::CLOCK_REALTIME)
    end

    def record(name)
      at = now
      deletions.clear if deletions.size >= MAX_REMEMBERED
      deletions[name] = at
      cached { |cache| cache.write(key(name), at, expires_in: REMEMBERED_FOR) }
    end

    # Whether the stream was deleted by this process after +time+.
    def known_since?(name, time)
      (at = deletions[name]) ? at >= time : false
    end

    # As known_since?, by any process.
    def since?(name, time)
      known_since?(name, time) || (cached { |cache| cache.read(key(name)) } || 0) >= time
    end

    private
      def deletions
        @deletions ||= Concurrent::Map.new
      end

      def key(name)
        "durable_streams/deleted/#{name}"
      end

      # A cache that fails costs what it knew and nothing else.
      def cached
        yield ::Rails.cache if ::Rails.cache
      rescue StandardError => error
        ::Rails.error.report(error, handled: true, source: "durable_streams")
        nil
      end
  end
end
