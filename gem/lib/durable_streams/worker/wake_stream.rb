# frozen_string_literal: true

module DurableStreams
  class Worker
    # Follows the stream of wakes by long-polling.
    class WakeStream # :nodoc:
      # Seconds that a poll may take. The server ends it earlier.
      TIMEOUT = 120

      # A server that is stopping ends polls at once.
      SHORTEST_POLL = 1

      # The bytes of wakes that are kept, some thousands. The server could not write to a
      # stream that has reached limits.max_stream_bytes.
      RETENTION_BYTES = 1024 * 1024

      # Creates the stream unless it exists, and returns its tail.
      def self.create(name)
        transport = DurableStreams.transport
        transport.create(name, retention_bytes: RETENTION_BYTES) || transport.metadata(name)&.offset
      end

      def initialize(name, pause: method(:sleep))
        @name, @pause = name, pause
        @backoff = Backoff.new
      end

      # Yields the ids of woken subscriptions, and +:all+ whenever wakes may have been
      # missed: at the start, and when the stream was replaced or has dropped them. Never
      # returns.
      def each(&block)
        loop { follow(&block) }
      end

      private
        def follow
          offset = self.class.create(@name)
          yield :all # Earlier wakes.
          loop do
            started_at = Rails::MonotonicClock.now
            page = transport.wait(@name, offset)
            raise Conflict, "the wake stream #{@name} is closed: delete it, and restart the workers" if page.closed
            @backoff.reset
            ids(page.events).each { |id| yield id }
            offset = page.offset
            @pause.call(@backoff.next) if page.events.empty? && Rails::MonotonicClock.now - started_at < SHORTEST_POLL
          end
        rescue StreamNotFound, StreamGone
          @pause.call(@backoff.next)
        rescue Error => error
          ::Rails.error.report(error, handled: true, source: "durable_streams") unless error.is_a?(ConnectionError)
          ::Rails.logger&.warn("  DurableStreams #{error.message}")
          @pause.call(@backoff.next)
        end

        # Anybody who may write to the stream can wake a subscription, which is harmless.
        def ids(events)
          events.filter_map { |event| event["subscription_id"] if event.is_a?(Hash) && event["type"] == "wake" }.uniq
        end

        # One attempt, because a poll is repeated here.
        def transport
          config = DurableStreams.config
          limits = Rails::HttpTransport::Limits.new(config.open_timeout, TIMEOUT, config.write_timeout, 0, 0)
          @transport ||= Rails::HttpTransport.new(DurableStreams.server_url, token_signer: DurableStreams.token_signer, config: config, limits: limits)
        end
    end
  end
end
