# frozen_string_literal: true

require "monitor"
require "active_support/fork_tracker"

module DurableStreams
  module Rails
    # The settings, <tt>config.durable_streams</tt>. The two addresses may also be set
    # as <tt>DurableStreams.client_url=</tt> and <tt>DurableStreams.server_url=</tt>.
    #
    # * <tt>client_url</tt>: where browsers reach the server, with the route:
    #   <tt>https://streams.example.com/v1/streams</tt>.
    # * <tt>server_url</tt>: where this app reaches the server. Never shown to a browser.
    # * <tt>signing_key</tt>: the private key of an EC P-256 pair, as PEM.
    # * <tt>signing_kid</tt>: which of the server's keys it is, or nil.
    # * <tt>token_issuer</tt>: the +iss+ of every token.
    # * <tt>token_audience</tt>: the +aud+ of every token; +client_url+ where nil.
    # * <tt>token_expiry</tt>: how many seconds the app's own tokens live (120).
    # * <tt>signed_stream_url_expires_in</tt>: how long a signed URL lives (15 minutes).
    # * <tt>stream_name_format</tt>: <tt>:gid</tt> or <tt>:gid_param</tt>.
    # * <tt>open_timeout</tt>, <tt>read_timeout</tt>, <tt>write_timeout</tt>: seconds (2, 5, 5).
    # * <tt>max_retries</tt>: how often a request is repeated at once before it
    #   counts as failed (2).
    # * <tt>stream_prefix</tt>: the first part of every stream name, or a proc that
    #   returns it, such as the tenant's slug. nil for none.
    # * <tt>queue</tt>: the queue of DurableStreams::Rails::BroadcastJob.
    # * <tt>page_timeout</tt>: seconds that a signed URL or an offset waits for the
    #   server, in one attempt (0.5).
    # * <tt>page_retry_interval</tt>: seconds without such requests after one has
    #   failed (5).
    module Configuration
      # The default of both addresses: the server that <tt>bin/durable-streams</tt>
      # runs in development.
      DEFAULT_URL = "http://localhost:4437/v1/streams"

      # Threads that broadcast first at the same time share one pool.
      LOCK = Monitor.new
      private_constant :LOCK

      def self.extended(base)
        ActiveSupport::ForkTracker.after_fork { base.reset_connections }
      end

      # The defaults of <tt>config.durable_streams</tt>.
      def self.defaults
        Settings.new(
          client_url: nil,
          server_url: nil,
          signing_key: nil,
          signing_kid: nil,
          token_issuer: nil,
          token_audience: nil,
          token_expiry: 120,
          signed_stream_url_expires_in: 15.minutes,
          stream_name_format: :gid,
          stream_prefix: nil,
          queue: nil,
          open_timeout: 2,
          read_timeout: 5,
          write_timeout: 5,
          max_retries: 2,
          page_timeout: 0.5,
          page_retry_interval: 5
        )
      end

      # Where browsers reach the server.
      def client_url
        config.client_url || DEFAULT_URL
      end

      def client_url=(url)
        config.client_url = url
      end

      # Where this app reaches the server.
      def server_url
        config.server_url || DEFAULT_URL
      end

      def server_url=(url)
        config.server_url = url
        reset_connections
      end

      # <tt>config.durable_streams</tt> of the running app.
      def config
        @config ||= Configuration.defaults
      end

      def config=(options) # :nodoc:
        @config = options
        reset_connections
      end

      # Signs and remembers tokens, see DurableStreams::Rails::Gatekeeper.
      def gatekeeper
        @gatekeeper || LOCK.synchronize { @gatekeeper ||= Gatekeeper.new(config, -> { client_url }) }
      end

      # What carries requests to the server: DurableStreams::Rails::HttpTransport,
      # or the in-memory one while DurableStreams::Rails::Testing is on.
      def transport
        @transport || LOCK.synchronize do
          @transport ||= HttpTransport.new(server_url, gatekeeper: gatekeeper, config: config)
        end
      end

      attr_writer :transport # :nodoc:

      # Drops connections, tokens and what is known about streams. Happens by
      # itself in a forked process and when an address or a setting changes.
      def reset_connections
        @gatekeeper = nil
        @transport = nil unless @transport.is_a?(MemoryTransport)
        forget_streams
      end
    end
  end
end
