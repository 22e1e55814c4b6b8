# frozen_string_literal: true

require "openssl"

# Finds out whether the app and its server agree: addresses, keys, issuer and
# audience. Behind <tt>bin/rails durable_streams:check</tt>.
class DurableStreams::Rails::Checkup
  def initialize(app)
    @app = app
  end

  # What is wrong, each in a sentence.
  def problems
    [ *key_problems, *claim_problems, *server_problems ]
  end

  private
    def server_config
      @server_config ||= @app.config_for(:durable_streams)
    end

    def auth
      server_config[:auth] || {}
    end

    def key_problems
      private_key = OpenSSL::PKey.read(signing_key_pem)
      if public_keys.none? { |key| key.public_to_der == private_key.public_to_der }
        [ "auth.verify_key (#{auth[:verify_key]}) does not hold the public half of config.durable_streams.signing_key" ]
      end
    rescue DurableStreams::ConfigurationError, OpenSSL::PKey::PKeyError, SystemCallError => error
      [ error.message ]
    end

    def signing_key_pem
      key = DurableStreams.config.signing_key
      DurableStreams.gatekeeper.server_token # Says what is wrong with the key.
      key.is_a?(String) ? key : key.to_pem
    end

    def public_keys
      path = @app.root.join(auth[:verify_key].to_s)
      files = path.directory? ? path.glob("*.pem") : [ path ]
      files.flat_map { |file| file.read.scan(/-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----/m) }.map { |pem| OpenSSL::PKey.read(pem) }
    end

    def claim_problems
      audience = DurableStreams.config.token_audience || DurableStreams.client_url
      [
        disagreement("auth.issuer", "config.durable_streams.token_issuer", DurableStreams.config.token_issuer, auth[:issuer]),
        disagreement("auth.audience", "config.durable_streams.token_audience", audience, auth[:audience])
      ].compact
    end

    def disagreement(theirs, ours, value, accepted)
      if accepted.present? && Array(accepted).exclude?(value)
        "#{theirs} is #{accepted.inspect}, and #{ours} is #{value.inspect}"
      end
    end

    def server_problems
      DurableStreams.stream_metadata("durable_streams", "check")
      []
    rescue DurableStreams::Error => error
      [ error.message ]
    end
end
