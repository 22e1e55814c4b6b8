# frozen_string_literal: true

require "active_support/ordered_options"
require "did_you_mean"

module DurableStreams
  module Rails
    # <tt>config.durable_streams</tt>. An unknown key raises
    # DurableStreams::ConfigurationError, so that a misspelt one is not ignored.
    #
    # * <tt>client_url</tt>: the address at which browsers reach the server, with
    #   the route: <tt>https://streams.example.com/v1/streams</tt>
    # * <tt>server_url</tt>: the address at which this app reaches the server;
    #   never shown to a browser
    # * <tt>signing_key</tt>: the private key of an EC P-256 pair, as PEM
    # * <tt>signing_kid</tt>: the id of that key on the server, or nil
    # * <tt>token_issuer</tt>: the +iss+ of every token
    # * <tt>token_audience</tt>: the +aud+ of every token; +client_url+ when nil
    # * <tt>token_expiry</tt>: lifetime of the app's own token in seconds
    # * <tt>signed_stream_url_expires_in</tt>: lifetime of a signed URL
    # * <tt>stream_name_format</tt>: <tt>:gid</tt> or <tt>:gid_param</tt>
    # * <tt>stream_prefix</tt>: the first part of every stream name, or a proc that
    #   returns it, such as the tenant's slug
    # * <tt>queue</tt>: the queue of DurableStreams::Rails::BroadcastJob and DeliveryJob
    # * <tt>webhook_url</tt>: the address of the engine's webhook route, at which the
    #   server reaches this app
    # * <tt>wake_stream</tt>: the stream by which the server wakes workers; the app's
    #   name with <tt>/wakes</tt> when nil
    # * <tt>open_timeout</tt>, <tt>read_timeout</tt>, <tt>write_timeout</tt>: in seconds
    # * <tt>max_retries</tt>: immediate retries of a failed request; with 0,
    #   +retry_timeout+ does not count either
    # * <tt>retry_timeout</tt>: seconds for which requests are retried when the server
    #   becomes unavailable, as during a deploy
    # * <tt>page_timeout</tt>: seconds that a signed URL or an offset may wait for
    #   the server, in a single attempt
    # * <tt>page_retry_interval</tt>: seconds without such attempts after a failure
    class Settings < ActiveSupport::OrderedOptions
      # The server that <tt>bin/durable-streams</tt> runs in development.
      DEFAULT_URL = "http://localhost:4437/v1/streams"

      DEFAULTS = {
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
        webhook_url: nil,
        wake_stream: nil,
        open_timeout: 2,
        read_timeout: 5,
        write_timeout: 5,
        max_retries: 2,
        retry_timeout: 5,
        page_timeout: 0.5,
        page_retry_interval: 5
      }.freeze

      URLS = %i[ client_url server_url webhook_url ].freeze
      SECRETS = %i[ signing_key ].freeze
      NUMBERS = %i[ token_expiry open_timeout read_timeout write_timeout max_retries retry_timeout page_timeout page_retry_interval ].freeze
      private_constant :URLS, :SECRETS, :NUMBERS

      def initialize
        super
        merge!(DEFAULTS)
      end

      def [](name)
        super(verify(name))
      end

      def []=(name, value)
        verify_number(name, value) if NUMBERS.include?(name.to_sym)
        super(verify(name), URLS.include?(name.to_sym) ? value.presence&.to_s&.chomp("/") : value)
      end

      def merge!(*others)
        others.each { |other| other.each { |name, value| self[name] = value } }
        self
      end
      alias_method :update, :merge!

      # The +aud+ of the tokens that this app signs.
      def effective_audience # :nodoc:
        token_audience || client_url || DEFAULT_URL
      end

      def method_missing(name, *) # :nodoc:
        verify(name.to_s.delete_suffix("=").delete_suffix("!"))
        super
      end

      def respond_to_missing?(name, include_private = false) # :nodoc:
        DEFAULTS.key?(name.to_s.delete_suffix("=").delete_suffix("!").to_sym)
      end

      # Hides keys, because settings end up in consoles, logs and error trackers.
      def inspect
        shown = to_h { |name, value| [ name, SECRETS.include?(name) && value.present? ? "[FILTERED]" : value ] }
        "#<#{self.class} #{shown}>"
      end
      alias_method :to_s, :inspect

      def pretty_print(printer) # :nodoc:
        printer.text(inspect)
      end

      private
        def verify(name)
          DEFAULTS.key?(name.to_sym) ? name : raise(ConfigurationError, unknown(name))
        end

        # A string, as from ENV, would fail in the middle of a request.
        def verify_number(name, value)
          return if (value.is_a?(Numeric) || value.is_a?(ActiveSupport::Duration)) && value >= 0
          raise ConfigurationError, "config.durable_streams.#{name} must be a number, not #{value.inspect}"
        end

        def unknown(name)
          nearest = DidYouMean::SpellChecker.new(dictionary: DEFAULTS.keys).correct(name).first
          "config.durable_streams.#{name} is not a setting. " +
            (nearest ? "Did you mean #{nearest}?" : "The settings are #{DEFAULTS.keys.to_sentence}.")
        end
    end
  end
end
