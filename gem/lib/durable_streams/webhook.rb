# frozen_string_literal: true

module DurableStreams
  # Verifies webhook deliveries of the server: their signatures, timestamps and form.
  #
  # The engine's route does this for the handlers of an app, see
  # DurableStreams::Handler. An endpoint of your own verifies the body as it was
  # received:
  #
  #   wake = DurableStreams::Webhook.verify(request.raw_post, request.headers["Webhook-Signature"])
  #   wake.streams.each { |stream| … }
  #
  # The keys come from <tt>config.durable_streams.server_url</tt> and are cached. No
  # address in a request is ever used.
  module Webhook
    extend ActiveSupport::Autoload

    # The largest body, in bytes. The server lists streams of up to 64 KiB, which JSON
    # can double, and adds a URL and a token.
    MAX_BODY_BYTES = 256 * 1024

    # The largest difference, in seconds, between the time of the signature and now.
    TOLERANCE = 300

    # The superclass of the errors of a delivery that is not genuine.
    class VerificationError < Error; end

    # The Webhook-Signature header is missing or has another form.
    class MalformedSignature < VerificationError; end

    # The signature is older or newer than TOLERANCE. Do the clocks agree?
    class StaleSignature < VerificationError; end

    # The server does not publish the key of the signature.
    class UnknownKey < VerificationError; end

    # The body was not signed with the key that the header names.
    class InvalidSignature < VerificationError; end

    # The body is larger than MAX_BODY_BYTES.
    class BodyTooLarge < VerificationError; end

    # The body is signed, but does not have the form of a wake.
    class InvalidBody < VerificationError; end

    eager_autoload do
      autoload :Endpoint
      autoload :KeySet
      autoload :Signature
    end

    # Returns the DurableStreams::Rails::Wake that the body describes. Raises a
    # VerificationError, or DurableStreams::ConnectionError if the server's keys
    # cannot be fetched.
    def self.verify(body, signature)
      raise BodyTooLarge, "the body is larger than #{MAX_BODY_BYTES} bytes" if body.bytesize > MAX_BODY_BYTES

      signature = Signature.parse(signature)
      signature.verify_time
      signature.verify(body, DurableStreams.webhook_keys.find(signature.kid))
      Rails::Wake.parse(body)
    end
  end
end
