# frozen_string_literal: true

require "concurrent/map"

module DurableStreams
  module Rails
    # Tombstones of the streams that the app deleted, so that older jobs do not
    # create them again. Processes share them through <tt>Rails.cache</tt>. If that
    # is not a shared cache, each process knows only its own.
    module StreamDeletions # :nodoc:
      # Longer than a job is retried.
      EXPIRES_IN = 1.day

      MAX_TOMBSTONES = 10_000

      class << self
        # Seconds since the epoch, comparable across processes.
        def now
          Process.clock_gettime(Process::CLOCK_REALTIME)
        end

        def record(name)
          deleted_at = now
          tombstones.clear if tombstones.size >= MAX_TOMBSTONES
          tombstones[name] = deleted_at
          with_cache { |cache| cache.write(key(name), deleted_at, expires_in: EXPIRES_IN) }
        end

        # Whether this process deleted the stream at +time+ or later.
        def known_since?(name, time)
          (deleted_at = tombstones[name]) ? deleted_at >= time : false
        end

        def since?(name, time)
          known_since?(name, time) || (with_cache { |cache| cache.read(key(name)) } || 0) >= time
        end

        def clear
          tombstones.clear
        end

        private
          def tombstones
            @tombstones ||= Concurrent::Map.new
          end

          def key(name)
            "durable_streams/deleted/#{name}"
          end

          # A failing cache must not fail the job.
          def with_cache
            yield ::Rails.cache if ::Rails.cache
          rescue StandardError => error
            ::Rails.error.report(error, handled: true, source: "durable_streams")
            nil
          end
      end
    end
  end
end
