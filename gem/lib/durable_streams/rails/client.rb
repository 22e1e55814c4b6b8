# frozen_string_literal: true

require "monitor"

module DurableStreams
  module Rails
    # The process's side of a server: its connections, its token and the streams
    # it knows to exist. Replaced as a whole when a setting changes and after a
    # fork, because none of these may be shared or outlive the settings.
    class Client # :nodoc:
      attr_reader :provisioner

      def initialize(config, transport: nil)
        @config, @transport = config, transport
        @provisioner = StreamProvisioner.new(self)
        @monitor = Monitor.new
      end

      def token_signer
        @token_signer || @monitor.synchronize { @token_signer ||= TokenSigner.new(@config) }
      end

      # Sends requests. The first threads to broadcast must share one pool.
      def transport
        @transport || @monitor.synchronize do
          @transport ||= HttpTransport.new(DurableStreams.server_url, token_signer: token_signer, config: @config)
        end
      end

      # All threads share this cache, which limits its requests.
      def webhook_keys
        @webhook_keys || @monitor.synchronize { @webhook_keys ||= Webhook::KeySet.new(self) }
      end

      def in_memory?
        @transport.is_a?(MemoryTransport)
      end
    end
  end
end
