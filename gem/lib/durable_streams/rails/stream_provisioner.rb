# frozen_string_literal: true

require "concurrent/map"

module DurableStreams
  module Rails
    # Creates streams before they are first used, so that an app never has to
    # think about it: one PUT for each name in each process. Signed URLs check again
    # after MAX_AGE, because the server may have lost the stream.
    module StreamProvisioner
      # Limit of the cache of existing streams. When it is reached, the cache is
      # emptied.
      MAX_REMEMBERED = 100_000

      # Seconds that a signed URL relies on the cache.
      MAX_AGE = 60

      # Creates the stream unless this process knows that it exists, from no more than
      # +max_age+ seconds ago.
      def ensure_stream_exists(name, max_age: nil)
        create_stream(name) unless stream_known?(name, max_age)
      end

      # Forgets which streams exist.
      def forget_streams # :nodoc:
        @provisioned_streams = Concurrent::Map.new
      end

      private
        def stream_known?(name, max_age = nil)
          return false if transport.in_memory?

          known_at = provisioned_streams[name]
          known_at && (max_age.nil? || Process.clock_gettime(Process::CLOCK_MONOTONIC) - known_at <= max_age)
        end

        def create_stream(name, through: transport)
          through.create(name).tap { remember_stream(name) }
        end

        def remember_stream(name)
          provisioned_streams.clear if provisioned_streams.size >= MAX_REMEMBERED
          provisioned_streams[name] = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        end

        # Appends, and where the server has lost the stream, creates it and appends
        # again. An event created before the app deleted the stream is dropped, and nil
        # returned.
        def append_to_stream(name, events, producer: nil, named_at: nil, through: transport)
          return if named_at && StreamDeletions.known_since?(name, named_at)

          unless stream_known?(name)
            return if stream_deleted_since?(name, named_at)
            create_stream(name, through: through)
          end
          through.append(name, events, producer: producer)
        rescue StreamNotFound, StreamGone => error
          provisioned_streams.delete(name)
          return if stream_deleted_since?(name, named_at)
          raise if error.is_a?(StreamGone) # Its name stays taken until its forks are deleted.

          create_stream(name, through: through)
          through.append(name, events)
        end

        def stream_deleted_since?(name, named_at)
          named_at && StreamDeletions.since?(name, named_at)
        end

        def provisioned_streams
          @provisioned_streams || forget_streams
        end
    end
  end
end
