# frozen_string_literal: true

module DurableStreams
  module Rails
    class HttpTransport
      # Converts an error response to an error that says what to do. Decides by
      # status and by the codes of the problem document, which the server's
      # docs/problems.md lists, never by text.
      class Failure # :nodoc:
        ERRORS = {
          401 => Unauthorized,
          403 => Forbidden,
          404 => StreamNotFound,
          409 => Conflict,
          410 => StreamGone,
          413 => PayloadTooLarge,
          507 => InsufficientStorage
        }.freeze

        # Statuses that a retry may overcome.
        TEMPORARY = [ 408, 429, 500, 502, 503, 504 ].freeze

        # In seconds. A longer Retry-After would delay a job indefinitely.
        MAX_RETRY_AFTER = 3600

        def self.temporary?(response)
          TEMPORARY.include?(response.code.to_i)
        end

        def initialize(response, url, config:)
          @response, @url, @config = response, url, config
          @status = response.code.to_i
        end

        def error
          return wrong_route if code == "no-such-path"

          error_class.new(message, status: @status, code: code, reason: reason)
        end

        def connection_error
          ConnectionError.new(message).tap { |error| error.retry_after = retry_after }
        end

        def wrong_route
          ConfigurationError.new("#{message}. DurableStreams.server_url must end with the server's route, /v1/streams")
        end

        private
          # In seconds. Dates are ignored because clocks differ.
          def retry_after
            Float(@response["Retry-After"].to_s, exception: false)&.clamp(0, MAX_RETRY_AFTER)
          end

          def error_class
            if @status == 409 && @response["Stream-Closed"].to_s.casecmp?("true")
              StreamClosed
            else
              ERRORS.fetch(@status, ResponseError)
            end
          end

          def message
            [ "#{@url} answered #{@status}: #{reason}", advice ].compact.join(". ")
          end

          # The server's explanation, or the beginning of a body of another form.
          def reason
            @reason ||= (problem["detail"] || problem["title"] || challenge("error_description") ||
              @response.body.to_s.truncate(200).presence || @response.message).to_s.chomp(".")
          end

          def code
            problem["type"].to_s[/\Aurn:durable-streams:problem:(.+)\z/, 1]
          end

          # The response's problem document, or an empty hash.
          def problem
            @problem ||= @response["Content-Type"].to_s.include?("json") && JSON.parse(@response.body.to_s).try(:to_hash) || {}
          rescue JSON::ParserError
            @problem = {}
          end

          # A parameter of the WWW-Authenticate header, which a response to HEAD has too.
          def challenge(parameter)
            @response["WWW-Authenticate"].to_s[/\b#{parameter}="([^"]*)"/, 1]
          end

          def advice
            case @status
            when 401 then token_advice
            when 403 then "Is this machine in internal.allowed_ips of the server's configuration?" unless %w[ forbidden stale-epoch ].include?(code)
            when 413 then "The event exceeds the server's limit, or its stream has reached limits.max_stream_bytes"
            when 507 then "The server has no room left: its disk is full or limits.max_memory_bytes is reached" unless code == "too-many-streams"
            end
          end

          def token_advice
            case challenge("error_reason")
            when "signature", "unknown-key", "no-kid", "no-keys"
              "The server's auth.verify_key must be the public key of config.durable_streams.signing_key"
            when "issuer"
              "config.durable_streams.token_issuer is #{@config.token_issuer.inspect} and must be the server's auth.issuer"
            when "audience"
              "config.durable_streams.token_audience is #{@config.effective_audience.inspect} and must be the server's auth.audience"
            when "expired", "not-yet-valid", "issued-in-future"
              "Do the clocks of this machine and of the server agree?"
            end
          end
      end
    end
  end
end
