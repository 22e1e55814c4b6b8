# frozen_string_literal: true

module DurableStreams
  module Rails
    class HttpTransport
      # Turns the server's refusal into an error that says what to do about it.
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

        # Statuses that say: not now.
        TEMPORARY = [ 408, 429, 500, 502, 503, 504 ].freeze

        # In seconds. A longer Retry-After would keep a job back for good.
        MAX_RETRY_AFTER = 3600

        def self.temporary?(response)
          TEMPORARY.include?(response.code.to_i)
        end

        def initialize(response, url)
          @response, @url = response, url
          @status = response.code.to_i
        end

        def error
          return wrong_route if @status == 404 && problem["type"].to_s.end_with?("no-such-path")

          error_class.new(message, status: @status, reason: reason)
        end

        def connection_error
          ConnectionError.new(message).tap { |error| error.retry_after = retry_after }
        end

        # The server serves no streams at that address.
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

          # What the server said: its problem+json, or where it is of another kind, its beginning.
          def reason
            @reason ||= (from_problem || from_challenge || @response.body.to_s.truncate(200).presence || @response.message).to_s.chomp(".")
          end

          def from_problem
            problem["detail"] || problem["title"]
          end

          # The answer's problem+json, or an empty hash.
          def problem
            @problem ||= @response["Content-Type"].to_s.include?("json") && JSON.parse(@response.body.to_s).try(:to_hash) || {}
          rescue JSON::ParserError
            @problem = {}
          end

          def from_challenge
            @response["WWW-Authenticate"].to_s[/error_description="([^"]*)"/, 1]
          end

          def advice
            case @status
            when 401 then token_advice
            when 403 then "Is this machine in internal.allowed_ips of the server's configuration?"
            when 413 then "The event is larger than the server takes, or its stream has reached limits.max_stream_bytes"
            when 507 then "The server has no room left: its disk is full or limits.max_memory_bytes is reached"
            end
          end

          def token_advice
            config = DurableStreams.config
            case reason
            when /signature|kid|key/i
              "The server's auth.verify_key must be the public half of config.durable_streams.signing_key"
            when /issuer/i
              "config.durable_streams.token_issuer is #{config.token_issuer.inspect} and must be the server's auth.issuer"
            when /audience/i
              "config.durable_streams.token_audience is #{(config.token_audience || DurableStreams.client_url).inspect} and must be the server's auth.audience"
            when /expired|nbf|iat|future/i
              "Do the clocks of this machine and of the server agree?"
            end
          end
      end
    end
  end
end
