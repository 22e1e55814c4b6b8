# frozen_string_literal: true

module DurableStreams
  # What every error of this gem is.
  class Error < StandardError; end

  # A setting is missing or does not fit.
  class ConfigurationError < Error; end

  # The server could not be reached, or could not answer just now: worth
  # trying again later. DurableStreams::Rails::BroadcastJob does.
  class ConnectionError < Error
    # The identity under which the append was sent, or nil. Sending it again
    # under this identity cannot land twice.
    attr_accessor :producer

    # The server's Retry-After in seconds, or nil.
    attr_accessor :retry_after
  end

  # An event cannot be encoded as JSON: it has invalid UTF-8 or is nested too
  # deeply. The message names the place.
  class InvalidEvent < Error; end

  # The stream does not hold JSON messages. Retrying does not help.
  class InvalidStreamContent < Error; end

  # The server answered, and said no.
  class ResponseError < Error
    # The HTTP status.
    attr_reader :status

    # The reason that the server gave, from its problem+json.
    attr_reader :reason

    def initialize(message = nil, status: nil, reason: nil)
      @status, @reason = status, reason
      super(message)
    end
  end

  # 401: the server did not accept the token.
  class Unauthorized < ResponseError; end

  # 403: the token does not reach this stream, or this machine is not in the
  # internal listener's +allowed_ips+.
  class Forbidden < ResponseError; end

  # 404: no such stream.
  class StreamNotFound < ResponseError; end

  # 409: the stream is closed.
  class StreamClosed < ResponseError; end

  # 409: anything else that contradicts what the stream is.
  class Conflict < ResponseError; end

  # 410: the stream was deleted.
  class StreamGone < ResponseError; end

  # 413: the event, or the stream with it, would be too large.
  class PayloadTooLarge < ResponseError; end

  # 507: the server has no room left: its disk or its memory limit.
  class InsufficientStorage < ResponseError; end
end
