# frozen_string_literal: true

require "openssl"
require "uri"

module DurableStreams
  module Rails
    # Compares the app with its server: addresses, keys, issuer, audience and
    # subscriptions. Implements <tt>bin/rails durable_streams:check</tt>.
    class HealthCheck
      # The file that bin/durable-streams reads.
      DEFAULT_CONFIG = "config/durable_streams.yml"
      DEFAULT_PORT = 4437
      DEFAULT_ROUTE = "/v1/streams"

      # Hosts on which only the server with this configuration can listen.
      LOOPBACK = %w[ localhost 127.0.0.1 ::1 0.0.0.0 ].freeze

      # One sentence for each comparison that was not possible.
      attr_reader :notes

      def initialize(app, env: ENV, subscriptions: Subscription.all)
        @app = app
        @env = env
        @subscriptions = subscriptions
        @notes = []
      end

      # Returns one sentence for each problem.
      def problems
        @problems = []
        compare if read_server_config
        try_server && check_subscriptions if signing_key
        @problems.uniq
      end

      private
        def problem(sentence)
          @problems << sentence
          nil
        end

        def config_path
          @env["DURABLE_STREAMS_CONFIG"].presence || DEFAULT_CONFIG
        end

        def read_server_config
          path = @app.root.join(config_path)
          case path.basename.to_s
          when /\.ya?ml\z/ then read_yaml(path)
          when /\.toml\z/
            @notes << "#{config_path} is TOML, which this task does not compare: run bin/durable-streams check"
            false
          else problem "DURABLE_STREAMS_CONFIG is #{config_path}, but the server reads YAML (.yml) or TOML (.toml)"
          end
        end

        def read_yaml(path)
          unless path.file?
            advice = ": bin/rails generate durable_streams:install creates it" if config_path == DEFAULT_CONFIG
            return problem "#{config_path} does not exist#{advice}"
          end

          @server_config = @app.config_for(path)
          @server_config.is_a?(Hash) || problem("#{config_path} has no section #{::Rails.env}")
        rescue StandardError, SyntaxError => error
          problem "#{config_path} cannot be read: #{error.message.lines.first&.chomp}"
        end

        def compare
          if auth[:mode].to_s == "none"
            @notes << "#{config_path} has auth.mode none: the server requires no token"
          else
            compare_keys
            compare_claim :issuer, DurableStreams.config.token_issuer, "DURABLE_STREAMS_ISSUER"
            compare_claim :audience, DurableStreams.config.effective_audience, "DURABLE_STREAMS_CLIENT_URL"
          end
          %i[ client_url server_url ].each { |name| compare_address(name) }
        end

        def auth
          @server_config[:auth] || {}
        end

        def compare_keys
          # In this order: in development, the first use of the signing key generates the pair.
          key, keys = signing_key, public_keys
          if key && keys&.none? { |other| other.public_to_der == key.public_to_der }
            problem "auth.verify_key (#{auth[:verify_key]}) does not contain the public key of config.durable_streams.signing_key"
          end
        end

        def signing_key
          @signing_key ||= SigningKey.parse(DurableStreams.config.signing_key)
        rescue ConfigurationError => error
          problem error.message
        end

        def public_keys
          return problem("auth.verify_key is not set in #{config_path}") if auth[:verify_key].blank?

          path = @app.root.join(auth[:verify_key].to_s)
          return problem("auth.verify_key (#{auth[:verify_key]}) does not exist: #{generate_keys}") unless path.exist?

          keys = (path.directory? ? path.glob("*.pem") : [ path ]).flat_map { |file| public_keys_in(file.read) }
          keys.presence || problem("auth.verify_key (#{auth[:verify_key]}) contains no public key")
        rescue SystemCallError, OpenSSL::PKey::PKeyError, JSON::ParserError => error
          problem "auth.verify_key (#{auth[:verify_key]}) cannot be read: #{error.message}"
        end

        def generate_keys
          "bin/rails durable_streams:generate_keys#{" FOR=#{::Rails.env}" unless ::Rails.env.local?} creates it"
        end

        def public_keys_in(content)
          if content.lstrip.start_with?("{")
            require "jwt"
            Array(JSON.parse(content)["keys"]).filter_map { |jwk| public_key_of(jwk) }
          else
            content.scan(/-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----/m).map { |pem| OpenSSL::PKey.read(pem) }
          end
        end

        # Like the server, skips members that it cannot use.
        def public_key_of(jwk)
          JWT::JWK.import(jwk.symbolize_keys).keypair
        rescue JWT::JWKError, OpenSSL::PKey::PKeyError, NoMethodError, ArgumentError
          nil
        end

        def compare_claim(name, value, variable)
          accepted = auth[name]
          if accepted.present? && Array(accepted).exclude?(value)
            advice = ": #{variable} sets both" unless ::Rails.env.local?
            problem "auth.#{name} is #{accepted.inspect}, but config.durable_streams.token_#{name} is #{value.inspect}#{advice}"
          end
        end

        def compare_address(name)
          address = DurableStreams.public_send(name)
          uri = URI.parse(address)
          return problem("#{name} is #{address.inspect}, but must be an http:// or https:// URL with a host") unless uri.is_a?(URI::HTTP) && uri.host.present?
          return unless LOOPBACK.include?(uri.hostname)

          if ports.exclude?(uri.port)
            problem "#{name} is #{address}, but the server of #{config_path} listens on port #{ports.join(" and ")}: DURABLE_STREAMS_PORT sets both"
          elsif uri.path != route
            problem "#{name} is #{address}, but must end with the server's route, #{route}"
          end
        rescue URI::InvalidURIError
          problem "#{name} is #{address.inspect}, which is not a URL"
        end

        def ports
          public_port = @env["DS_SERVER__BIND_ADDRESS"].to_s[/:(\d+)\z/, 1] || domain_port || @server_config[:port] || DEFAULT_PORT
          [ public_port, @server_config.dig(:internal, :port) ].compact.map(&:to_i).uniq
        end

        def domain_port
          @server_config[:domain].presence&.then { |domain| domain.to_s[/:(\d+)\z/, 1] || 443 }
        end

        def route
          "/#{(@server_config[:route] || @server_config.dig(:http, :stream_base_path) || DEFAULT_ROUTE).to_s.delete_suffix("*").delete_prefix("/").chomp("/")}"
        end

        def try_server
          DurableStreams.stream_metadata("durable_streams", "check")
          true
        rescue Error => error
          problem error.message
        end

        def check_subscriptions
          @subscriptions.each { |subscription| check_subscription(subscription, SubscriptionApi.new.find(subscription.id)) }
        rescue Error => error
          problem error.message
        end

        def check_subscription(subscription, existing)
          return problem("#{subscription.handler.name} has no subscription on the server: bin/rails durable_streams:subscriptions:sync creates it") if existing.nil?

          differences = subscription.differences(existing)
          problem "the subscription #{subscription.id} differs: #{differences}" if differences.present?
          problem "the server cannot deliver to #{existing.dig("webhook", "url")} for #{subscription.handler.name}; its log says why" if existing["status"] == "failed"
          @notes << "the subscription #{subscription.id} is paused" if existing["paused"]
        end
    end
  end
end
