# frozen_string_literal: true

require "openssl"

module DurableStreams
  module Webhook
    # The header <tt>Webhook-Signature: t=<seconds>,kid=<key>,ed25519=<signature></tt>.
    # The signature covers the time, a dot and the body.
    class Signature < Data.define(:time, :kid, :bytes) # :nodoc:
      # An Ed25519 signature has 64 bytes, which are 86 characters of Base64.
      FORM = /\At=(?<time>\d{1,12}),kid=(?<kid>[A-Za-z0-9._~:-]{1,128}),ed25519=(?<signature>[A-Za-z0-9_-]{86})\z/

      def self.parse(header)
        match = FORM.match(header.to_s.b) || raise(MalformedSignature, "the Webhook-Signature header is #{header.nil? ? "missing" : "malformed"}")
        new(match[:time], match[:kid].encode(Encoding::UTF_8), decode(match[:signature]))
      end

      def self.decode(text)
        "#{text.tr("-_", "+/")}==".unpack1("m0")
      rescue ArgumentError
        raise MalformedSignature, "the signature is not Base64"
      end
      private_class_method :decode

      def verify_time
        age = Time.now.to_i - time.to_i
        if age.abs > TOLERANCE
          raise StaleSignature, "the signature is #{age.abs} s #{age.positive? ? "old" : "ahead of this machine's clock"}; at most #{TOLERANCE} s are accepted"
        end
      end

      def verify(body, key)
        unless key.verify(nil, bytes, "#{time}.".b << body.b)
          raise InvalidSignature, "the body was not signed with the key #{kid}"
        end
      rescue OpenSSL::PKey::PKeyError
        raise InvalidSignature, "the signature cannot be verified with the key #{kid}"
      end
    end
  end
end
