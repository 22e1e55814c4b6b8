# frozen_string_literal: true

require "jwt"
require "openssl"

module DurableStreams
  module Rails
    # Signs the ES256 tokens that the server verifies without calling back.
    class TokenSigner
      PERMISSIONS = %w[ read write ].freeze

      # A later expiry is a number of milliseconds taken for seconds, which the server
      # would refuse.
      MAX_EXPIRY_YEAR = 9999

      def initialize(config) # :nodoc:
        @config = config
        @mutex = Mutex.new
      end

      # Returns the app's own token, which allows everything. Reused for half of its
      # lifetime.
      def server_token
        token, fresh_until = @server_token
        token && MonotonicClock.now < fresh_until ? token : sign_server_token
      end

      # Makes the next server_token a new one.
      def forget_server_token
        @server_token = nil
      end

      # Returns a browser's token for one stream.
      #
      # ==== Options
      #
      # * <tt>permissions:</tt> <tt>:read</tt>, <tt>:write</tt> or both
      # * <tt>expires_in:</tt> a duration or whole seconds
      # * <tt>expires_at:</tt> a time, instead of +expires_in+
      # * <tt>identity:</tt> the reader's name in the server's logs
      def client_token(stream_name, permissions: :read, expires_in: nil, expires_at: nil, identity: nil)
        seconds = seconds_until_expiry(expires_in, expires_at)
        if (Time.now + seconds).year > MAX_EXPIRY_YEAR
          raise ArgumentError, "the token would expire after the year #{MAX_EXPIRY_YEAR}: #{expires_in || expires_at}"
        end

        sign({ stream: stream_name, permissions: verify_permissions(permissions), identity: verify_identity(identity) }.compact, seconds)
      end

      # Hides keys and tokens.
      def inspect
        "#<#{self.class.name}>"
      end

      private
        def seconds_until_expiry(expires_in, expires_at)
          if expires_at.nil?
            verify_expires_in(expires_in.nil? ? @config.signed_stream_url_expires_in : expires_in)
          elsif !expires_in.nil?
            raise ArgumentError, "expires_in: and expires_at: cannot be combined"
          elsif !expires_at.acts_like?(:time)
            raise ArgumentError, "expires_at: must be a time, not #{expires_at.inspect}"
          else
            seconds = expires_at.to_i - Time.now.to_i
            seconds.positive? ? seconds : raise(ArgumentError, "expires_at: is in the past: #{expires_at.inspect}")
          end
        end

        def verify_expires_in(expires_in)
          if expires_in.acts_like?(:time)
            raise ArgumentError, "expires_in: must be a duration, not a time: use expires_at: #{expires_in.inspect}"
          elsif !(expires_in.is_a?(Integer) || expires_in.is_a?(ActiveSupport::Duration)) || expires_in.to_i < 1
            raise ArgumentError, "expires_in: must be a duration of at least one second, not #{expires_in.inspect}"
          end
          expires_in.to_i
        end

        def sign_server_token
          @mutex.synchronize do
            signed_at = MonotonicClock.now
            token = sign({ server: "rails" }, @config.token_expiry)
            @server_token = [ token, signed_at + @config.token_expiry.to_i / 2.0 ]
            token
          end
        end

        def sign(claims, expires_in)
          now = Time.now.to_i
          JWT.encode({ **claims, iss: @config.token_issuer, aud: @config.effective_audience, iat: now, exp: now + expires_in.to_i }.compact,
            signing_key, "ES256", { kid: @config.signing_kid }.compact)
        end

        def verify_identity(identity)
          StateEvent.identifier("identity", identity) unless identity.nil?
        end

        def verify_permissions(permissions)
          permissions = Array(permissions).map(&:to_s)
          unknown = permissions - PERMISSIONS
          raise ArgumentError, "permissions: must be :read, :write or both, not #{unknown.first || "none"}" if unknown.any? || permissions.empty?
          permissions
        end

        def signing_key
          @signing_key ||= SigningKey.parse(@config.signing_key)
        end
    end
  end
end
