# frozen_string_literal: true

require "openssl"

module DurableStreams
  module Webhook
    # The keys with which the server signs webhooks, from its <tt>__ds/jwks.json</tt>.
    #
    # They are fetched when the cache is too old or does not have a key. Both are
    # limited: a sender that invents keys costs one short request every few seconds,
    # and one thread at a time.
    class KeySet # :nodoc:
      # Seconds for which the keys are cached, whatever the server's max-age.
      MAX_AGE = 60..3600

      # Seconds between two requests.
      REFRESH_INTERVAL = 5

      # Seconds for which keys are used that cannot be refreshed.
      MAX_STALENESS = 3600

      MAX_BYTES = 64 * 1024

      # The DER encoding of an Ed25519 public key, up to its 32 bytes.
      DER_PREFIX = [ "302a300506032b6570032100" ].pack("H*").freeze

      def initialize(client)
        @client = client
        @keys = nil
        @mutex = Mutex.new
      end

      # Returns the key. Raises UnknownKey, or DurableStreams::ConnectionError if no
      # keys can be fetched.
      def find(kid)
        refresh unless fresh? && @keys.key?(kid)
        keys = usable_keys || raise(ConnectionError, @failure || "the webhook keys of #{DurableStreams.server_url} are not known yet")
        keys[kid] || raise(UnknownKey, "the server does not publish the key #{kid}")
      end

      private
        def fresh?
          @keys && Rails::MonotonicClock.now < @fresh_until
        end

        def usable_keys
          @keys if @keys && Rails::MonotonicClock.now < @fresh_until + MAX_STALENESS
        end

        # While one thread fetches, others wait only if there are no keys at all.
        def refresh
          if @keys.nil?
            @mutex.synchronize { fetch if @keys.nil? && due? }
          elsif due? && @mutex.try_lock
            begin
              fetch if due?
            ensure
              @mutex.unlock
            end
          end
        end

        def due?
          @requested_at.nil? || Rails::MonotonicClock.now - @requested_at >= REFRESH_INTERVAL
        end

        def fetch
          @requested_at = Rails::MonotonicClock.now
          response = @client.transport.briefly { |transport| transport.control(Net::HTTP::Get, "jwks.json") }
          raise ConnectionError, "the Durable Streams server at #{DurableStreams.server_url} has just failed" if response.nil?
          raise ConnectionError, "the webhook keys of #{DurableStreams.server_url} cannot be fetched: the server answered #{response.code}" unless response.code == "200"

          keys = parse(response)
          @fresh_until = Rails::MonotonicClock.now + max_age(response)
          @keys, @failure = keys, nil
        rescue Error => error
          @failure = error.message
        end

        def max_age(response)
          response["Cache-Control"].to_s[/\bmax-age=(\d{1,9})\b/, 1].to_i.clamp(MAX_AGE)
        end

        def parse(response)
          raise ConnectionError, "the webhook keys of #{DurableStreams.server_url} are larger than #{MAX_BYTES} bytes" if response.body.to_s.bytesize > MAX_BYTES

          members = @client.transport.control_document(response, "jwks.json")["keys"]
          raise ConnectionError, "the webhook keys of #{DurableStreams.server_url} are no key set" unless members.is_a?(Array)

          members.filter_map { |jwk| [ jwk["kid"], public_key(jwk) ] if usable?(jwk) }.to_h
        end

        # Members of another kind are for other receivers.
        def usable?(jwk)
          jwk.is_a?(Hash) && jwk["kid"].is_a?(String) && jwk["kty"] == "OKP" && jwk["crv"] == "Ed25519" &&
            [ nil, "sig" ].include?(jwk["use"]) && [ nil, "EdDSA", "Ed25519" ].include?(jwk["alg"]) && jwk["x"].to_s.match?(/\A[A-Za-z0-9_-]{43}\z/)
        end

        def public_key(jwk)
          OpenSSL::PKey.read(DER_PREFIX + "#{jwk["x"].tr("-_", "+/")}=".unpack1("m"))
        end
    end
  end
end
