# frozen_string_literal: true

require "active_support/ordered_options"
require "did_you_mean"

module DurableStreams
  module Rails
    # <tt>config.durable_streams</tt>. A key that is not a setting raises, so that a
    # misspelt one is not ignored.
    class Settings < ActiveSupport::OrderedOptions
      URLS = %i[ client_url server_url ].freeze
      SECRETS = %i[ signing_key ].freeze
      NUMBERS = %i[ token_expiry open_timeout read_timeout write_timeout max_retries page_timeout page_retry_interval ].freeze
      private_constant :URLS, :SECRETS, :NUMBERS

      # The settings are the keys of the defaults.
      def initialize(defaults)
        super()
        @names = defaults.keys.freeze
        merge!(defaults)
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

      def method_missing(name, *) # :nodoc:
        verify(name.to_s.delete_suffix("=").delete_suffix("!"))
        super
      end

      def respond_to_missing?(name, include_private = false) # :nodoc:
        @names.include?(name.to_s.delete_suffix("=").delete_suffix("!").to_sym)
      end

      # Shows no key: it ends up in consoles, logs and error trackers.
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
          @names.include?(name.to_sym) ? name : raise(ConfigurationError, unknown(name))
        end

        # A string, as from ENV, would fail in the middle of a request.
        def verify_number(name, value)
          return if (value.is_a?(Numeric) || value.is_a?(ActiveSupport::Duration)) && value >= 0
          raise ConfigurationError, "config.durable_streams.#{name} is a number, not #{value.inspect}"
        end

        def unknown(name)
          nearest = DidYouMean::SpellChecker.new(dictionary: @names).correct(name).first
          "config.durable_streams.#{name} is not a setting. " +
            (nearest ? "Did you mean #{nearest}?" : "The settings are #{@names.to_sentence}.")
        end
    end
  end
end
