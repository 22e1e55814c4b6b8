# frozen_string_literal: true

require "openssl"
require "base64"

# Signs webhooks as the server does.
class WebhookSigner
  attr_reader :kid

  def initialize(kid)
    @kid = kid
    @key = OpenSSL::PKey.generate_key("ED25519")
  end

  def sign(body, time: Time.now.to_i)
    "t=#{time},kid=#{kid},ed25519=#{encode(@key.sign(nil, "#{time}.#{body}"))}"
  end

  def jwk
    { "kty" => "OKP", "crv" => "Ed25519", "kid" => kid, "use" => "sig", "alg" => "EdDSA", "x" => encode(@key.public_to_der[-32..]) }
  end

  private
    def encode(bytes)
      Base64.urlsafe_encode64(bytes, padding: false)
    end
end
