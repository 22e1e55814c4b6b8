# frozen_string_literal: true

require "concurrent/map"

module DurableStreams
  module Rails
    # Tombstones of the streams that the app deleted, so that a job created earlier
    # does not recreate one. Processes share them through <tt>Rails.cache</tt>; where
    # that is not shared, each process knows only its own.
    module StreamDeletions # :nodoc:
      # Longer than a job is retried.
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

        # Whether this process deleted the stream after +time+.
        def known_since?(name, time)
          (at = deletions[name]) ? at >= time : false
        end

        # Whether any process did.
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

          # A failing cache must not fail the job.
          def cached
            yield ::Rails.cache if ::Rails.cache
          rescue StandardError => error
            ::Rails.error.report(error, handled: true, source: "durable_streams")
            nil
          end
      end
    end
  end
end
