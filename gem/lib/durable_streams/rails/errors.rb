# frozen_string_literal: true

module DurableStreams
  # The superclass of all errors of this gem.
  class Error < StandardError; end

  # A setting is missing or invalid.
  class ConfigurationError < Error; end

  # The server is unreachable or temporarily unavailable, or something else has
  # responded in its place. Retry later, as DurableStreams::Rails::BroadcastJob does.
  class ConnectionError < Error
    # The identity under which the append was sent, or nil. An append that is
    # repeated under this identity takes effect once.
    attr_accessor :producer

    # The server's Retry-After in seconds, or nil.
    attr_accessor :retry_after
  end

  # An event cannot be encoded as JSON: it is not valid UTF-8, or nested too
  # deeply. The message names the attribute.
  class InvalidEvent < Error; end

  # The stream does not contain JSON messages. A retry does not help.
  class InvalidStreamContent < Error; end

  # The server refused the request.
  class ResponseError < Error
    attr_reader :status

    # The server's code for the problem, such as "too-large", or nil. The server's
    # docs/problems.md lists them.
    attr_reader :code

    attr_reader :reason

    def initialize(message = nil, status: nil, code: nil, reason: message)
      @status, @code, @reason = status, code, reason
      super(message)
    end
  end

  # 401: the server rejected the token.
  class Unauthorized < ResponseError; end

  # 403: the token does not allow this, or the internal listener's +allowed_ips+
  # do not include this machine.
  class Forbidden < ResponseError; end

  # 404: the stream does not exist.
  class StreamNotFound < ResponseError; end

  # 409: the stream is closed.
  class StreamClosed < ResponseError; end

  # 409: the request conflicts with the stream's configuration.
  class Conflict < ResponseError; end

  # 410: the stream was deleted, or the events at the offset were removed.
  class StreamGone < ResponseError; end

  # 413: the event is too large, or its stream would be.
  class PayloadTooLarge < ResponseError; end

  # 507: the server has no room left on disk or in memory.
  class InsufficientStorage < ResponseError; end

  # The lease of a wake has ended, because it expired or the subscription was deleted.
  # Its events are delivered again, if they were not acknowledged.
  class Fenced < Error; end

  # A subscription exists with another configuration. The message lists the
  # differences.
  class SubscriptionConflict < Error; end
end
