# frozen_string_literal: true

module DurableStreams
  module Rails
    # The subscription of a DurableStreams::Handler on the server.
    class Subscription
      VIA = { webhook: "webhook", worker: "pull-wake" }.freeze

      # Seconds that the server accepts.
      LEASES = 1..600

      # The server's limit is larger, but an id is part of URLs.
      ID = /\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\z/

      attr_reader :handler, :pattern, :via, :lease, :batch_size, :queue, :description

      class << self
        # Returns the subscriptions of all handlers, which are loaded first if necessary.
        def all
          ::Rails.application.eager_load! unless ::Rails.application.config.eager_load
          loaded.sort_by(&:id)
        end

        # Returns the subscription with this id, or nil.
        def find(id)
          loaded.find { |subscription| subscription.id == id } || all.find { |subscription| subscription.id == id }
        end

        private
          def loaded
            Handler.descendants.select { |handler| handler.name && handler.subscribed? }.map(&:subscription)
          end
      end

      def initialize(handler, streamables, via: :webhook, lease: 30, batch_size: 100, queue: nil, id: nil, description: nil) # :nodoc:
        @handler, @via, @lease, @batch_size, @queue, @id, @description = handler, via, lease.to_i, batch_size, queue, id, description
        @pattern = StreamPattern.new(streamables)
        verify
      end

      # The id on the server, such as "blog-room-messages".
      def id
        @id ||= "#{::Rails.application.name}-#{handler.name.delete_suffix("Handler").underscore.tr("_", "-").tr("/", ".")}".tap { |id| verify_id(id) }
      end

      def webhook?
        via == :webhook
      end

      # What the server is told.
      def configuration
        { type: VIA.fetch(via), pattern: pattern.to_s, **delivery, lease_ttl_ms: lease * 1000, description: description }.compact
      end

      # Creates the subscription, or confirms that it is as declared. Returns +:created+
      # or +:unchanged+, and raises DurableStreams::SubscriptionConflict if it is not.
      def sync(api = SubscriptionApi.new)
        create_wake_stream unless webhook?
        api.create(id, configuration) ? :created : :unchanged
      rescue Conflict => error
        raise SubscriptionConflict, differences(api.find(id) || {}).presence || error.message
      end

      # Deletes the subscription and creates it as declared. Its new cursors are at the
      # tails of the streams: events that were not processed yet are skipped.
      def replace(api = SubscriptionApi.new)
        api.delete(id)
        sync(api)
        :replaced
      end

      # Returns a sentence for each part of the configuration that is another one on the
      # server.
      def differences(existing) # :nodoc:
        declared = configuration.deep_stringify_keys
        paths = [ %w[ type ], %w[ pattern ], %w[ webhook url ], %w[ wake_stream ], %w[ lease_ttl_ms ], %w[ description ] ]
        paths.filter_map do |path|
          there, here = existing.dig(*path).presence, declared.dig(*path).presence
          unless there == here || (path == %w[ pattern ] && pattern.same?(there))
            "#{path.join(".")} is #{there.inspect} on the server and #{here.inspect} in #{handler.name}"
          end
        end.join(", ")
      end

      private
        def verify
          raise ArgumentError, "via: must be :webhook or :worker, not #{via.inspect}" unless VIA.key?(via)
          raise ArgumentError, "lease: must be from 1 to 600 seconds, not #{lease.inspect}" unless LEASES.cover?(lease)
          raise ArgumentError, "batch_size: must be a positive number, not #{batch_size.inspect}" unless batch_size.is_a?(Integer) && batch_size.positive?
          raise ArgumentError, "queue: is for jobs, and a worker has none" if queue && !webhook?
          verify_id(@id) unless @id.nil?
        end

        def verify_id(id)
          unless ID.match?(id.to_s)
            raise ArgumentError, "id: must consist of up to 128 letters, digits, dots, dashes and underscores, not #{id.inspect}"
          end
        end

        def delivery
          webhook? ? { webhook: { url: webhook_url } } : { wake_stream: wake_stream }
        end

        def webhook_url
          unless defined?(::ActiveJob)
            raise ConfigurationError, "#{handler.name} needs Active Job: require \"active_job/railtie\" in config/application.rb, or use via: :worker"
          end
          DurableStreams.config.webhook_url || raise(ConfigurationError, <<~TEXT.squish)
            config.durable_streams.webhook_url is not set. It is the address at which the server reaches this app:
            https://example.com/durable_streams/webhook with mount DurableStreams::Engine => "/durable_streams" in config/routes.rb
          TEXT
        end

        # A subscription to its own wakes would never be idle.
        def wake_stream
          DurableStreams.wake_stream.tap do |name|
            raise ConfigurationError, "#{handler.name} must not subscribe to its wake stream, #{name}" if pattern.match?(name)
          end
        end

        def create_wake_stream
          Worker::WakeStream.create(wake_stream)
        end
    end
  end
end
