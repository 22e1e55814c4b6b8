# frozen_string_literal: true

require "concurrent/map"

module DurableStreams
  module Rails
    # Creates streams before they are first used, so that apps never have to: one
    # PUT for each name and process.
    class StreamProvisioner
      # The cache of existing streams is emptied when it holds this many.
      MAX_CACHED = 100_000

      # Seconds for which a signed URL trusts the cache: the server may have lost
      # the stream, and a reader cannot create it.
      SIGNED_URL_MAX_AGE = 60

      delegate :transport, to: :@client

      def initialize(client) # :nodoc:
        @client = client
        @confirmed = Concurrent::Map.new
      end

      # Creates the stream unless this process has seen it in the last +max_age+
      # seconds, or ever.
      def ensure_stream_exists(name, max_age: nil)
        create_stream(name) unless stream_known?(name, max_age: max_age)
      end

      # Appends, and creates a stream that the server has lost. An event that is
      # older than the stream's deletion is dropped, and nil returned.
      def append_to_stream(name, events, producer: nil, named_at: nil, through: transport) # :nodoc:
        return if named_at && StreamDeletions.known_since?(name, named_at)

        unless stream_known?(name)
          return if deleted_since?(name, named_at)
          create_stream(name, through: through)
        end
        through.append(name, events, producer: producer)
      rescue StreamNotFound, StreamGone => error
        forget_stream(name)
        return if deleted_since?(name, named_at)
        raise if error.is_a?(StreamGone) # The name is taken until the stream's forks are deleted.

        create_stream(name, through: through)
        through.append(name, events)
      end

      def create_stream(name, through: transport) # :nodoc:
        through.create(name).tap { remember_stream(name) }
      end

      def stream_known?(name, max_age: nil) # :nodoc:
        return false if @client.in_memory?

        confirmed_at = @confirmed[name]
        confirmed_at && (max_age.nil? || MonotonicClock.now - confirmed_at <= max_age)
      end

      def remember_stream(name) # :nodoc:
        @confirmed.clear if @confirmed.size >= MAX_CACHED
        @confirmed[name] = MonotonicClock.now
      end

      def forget_stream(name) # :nodoc:
        @confirmed.delete(name)
      end

      private
        def deleted_since?(name, named_at)
          named_at && StreamDeletions.since?(name, named_at)
        end
    end
  end
end
