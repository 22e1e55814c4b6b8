# frozen_string_literal: true

require "json"
require "net/http/persistent"
require "openssl"

module DurableStreams
  module Rails
    # Sends requests to the server over persistent connections, one pool for the
    # process. Every request is idempotent: appends because they carry a producer's
    # identity, the others by nature. So a failed request is retried a few times.
    #
    # Pages cannot wait that long: see #briefly.
    class HttpTransport
      extend ActiveSupport::Autoload

      eager_autoload do
        autoload :Append
        autoload :Failure
      end

      NETWORK_ERRORS = [
        Net::HTTP::Persistent::Error, SystemCallError, SocketError, IOError, Timeout::Error,
        Net::HTTPBadResponse, Net::HTTPHeaderSyntaxError, OpenSSL::SSL::SSLError
      ].freeze

      # The longest Retry-After, in seconds, that one of +max_retries+ waits for. With a
      # longer one the request fails, and the job is retried later.
      MAX_RETRY_DELAY = 2

      # The longest pause between retries, in seconds, when the server asks for none.
      MAX_PAUSE = 0.5

      # Set here because every header that a library adds by itself costs
      # microseconds.
      HEADERS = { "Connection" => "keep-alive", "Accept-Encoding" => "identity" }.freeze # :nodoc:
      JSON_TYPE = { "Content-Type" => "application/json" }.freeze # :nodoc:

      Limits = Struct.new(:open_timeout, :read_timeout, :write_timeout, :max_retries, :retry_timeout) do # :nodoc:
        # A slow connect and a slow response together take less than twice the time.
        def self.brief(seconds)
          new(seconds * 0.8, seconds, seconds, 0, 0)
        end
      end

      # Seconds before the first retry. Each further delay is four times as long, up to
      # MAX_PAUSE.
      class_attribute :retry_delay, default: 0.05, instance_writer: false # :nodoc:

      # The server's address with the route.
      attr_reader :url

      def initialize(url, token_signer:, config:, limits: config)
        @url = url
        @uri = parse(url)
        @token_signer = token_signer
        @config = config
        @limits = limits
        @producers = Producers.new
        @outage = Outage.new(patience: limits.retry_timeout)
        @breaker = CircuitBreaker.new(pause: config.page_retry_interval)
        @connections = build_connections
        @mutex = Mutex.new
      end

      # Yields a transport with short timeouts and a single attempt, for callers that
      # cannot wait. After a failure, returns nil without yielding for
      # +page_retry_interval+, in all threads.
      def briefly
        return unless @breaker.allow?

        yield(brief).tap { @breaker.close }
      rescue ConnectionError => error
        @breaker.open(retry_after: error.retry_after)
        raise
      rescue StandardError
        @breaker.close # The server responded.
        raise
      end

      # Hides keys and tokens.
      def inspect
        "#<#{self.class.name} #{@url}>"
      end

      # Creates the stream, or confirms that it exists, and returns its tail, or nil if it
      # has other properties than requested. With +ttl+ the stream expires after that many seconds
      # without access. With +retention_bytes+ it keeps about that many of its latest bytes.
      def create(name, ttl: nil, retention_bytes: nil)
        options = { "Stream-TTL" => ttl, "Stream-Retention-Bytes" => retention_bytes }.compact.transform_values(&:to_s)
        response = request(Net::HTTP::Put, name, headers: { **JSON_TYPE, **options })
        # Below the server's route, a PUT is never answered with 404.
        raise failure(response, name).wrong_route if response.code == "404"

        offset_of(response, name) unless response.code == "409"
      end

      # Appends events atomically and returns the new tail. With +producer+, the
      # identity from a DurableStreams::ConnectionError, it repeats that append.
      def append(name, events, producer: nil)
        body = StateEvent.generate(events)
        if producer
          append_as(Producers::Identity.from(producer), name, body)
        else
          @producers.with(name) { |identity| append_as(identity, name, body) }
        end
      end

      # Closes the stream and returns its last offset.
      def close(name)
        response = request(Net::HTTP::Post, name, headers: { **JSON_TYPE, "Stream-Closed" => "true" })
        offset_of(response, name)
      end

      # Deletes the stream and returns whether there was one.
      def delete(name)
        response = request(Net::HTTP::Delete, name)
        check(response, name, accept: [ 404, 410 ]).code.to_i < 300
      end

      # Returns the stream's StreamMetadata, or nil.
      def metadata(name)
        response = request(Net::HTTP::Head, name)
        return if [ 404, 410 ].include?(response.code.to_i)

        StreamMetadata.new(
          content_type: response["Content-Type"],
          offset: offset_of(response, name),
          closed: response["Stream-Closed"].to_s.casecmp?("true"),
          ttl: response["Stream-TTL"]&.to_i,
          expires_at: response["Stream-Expires-At"]&.then { |time| Time.iso8601(time) }
        )
      end

      # Returns one StreamPage of events after +offset+.
      def read(name, offset)
        response = request(Net::HTTP::Get, name, query: "offset=#{URI.encode_www_form_component(offset)}")
        page(response, name)
      end

      # Waits for events after +offset+ and returns a StreamPage, which is empty if none
      # came.
      def wait(name, offset)
        response = request(Net::HTTP::Get, name, query: "offset=#{URI.encode_www_form_component(offset)}&live=long-poll")
        return page(response, name) unless response.code == "204"
        StreamPage.new([], offset_of(response, name), response["Stream-Closed"].to_s.casecmp?("true"), true, 0)
      end

      # Sends a request to the server's control API and returns the response, whatever its
      # status. +token+ takes the place of the app's token.
      def control(verb, path, body: nil, token: nil)
        request(verb, "__ds/#{path}", body: body&.to_json, headers: body ? JSON_TYPE : {}, token: token)
      end

      # Parses the response to a control request, which is always an object.
      def control_document(response, path)
        parse_object(response.body) || raise(foreign(response, "__ds/#{path}", "with something other than a JSON object"))
      end

      def control_failure(response, path)
        failure(response, "__ds/#{path}").error
      end

      private
        def parse(url)
          uri = URI.parse(url)
          return uri if uri.is_a?(URI::HTTP) && uri.host
          raise ConfigurationError, "DurableStreams.server_url must be an http or https URL, not #{url.inspect}"
        rescue URI::InvalidURIError
          raise ConfigurationError, "DurableStreams.server_url must be a URL, not #{url.inspect}"
        end

        def append_as(identity, name, body)
          response = request(Append, name, body: body, headers: { **JSON_TYPE, **identity.headers })
          # The server has forgotten this producer, so it has not accepted this append.
          if response["Producer-Expected-Seq"] || (response.code == "403" && response["Producer-Epoch"])
            identity = @producers.fresh
            response = request(Append, name, body: body, headers: { **JSON_TYPE, **identity.headers })
          end
          offset_of(response, name)
        rescue ConnectionError => error
          error.producer = identity.to_h
          raise
        end

        def request(verb, name, query: nil, body: nil, headers: {}, token: nil)
          path = "#{@uri.path}/#{StreamName.to_path(name)}#{"?#{query}" if query}"
          attempt = 0
          started_at = MonotonicClock.now
          begin
            response = token ? perform(verb, path, body, headers, token) : perform_authorized(verb, path, body, headers)
            raise failure(response, name).connection_error if Failure.temporary?(response)
            @outage.over
            response
          rescue ConnectionError, *NETWORK_ERRORS => error
            attempt += 1
            if (delay = delay_before_retry(error, attempt, @outage.time_left(started_at)))
              sleep delay
              retry
            end
            raise error.is_a?(ConnectionError) ? error : unreachable(error)
          end
        end

        # The cached token may be signed with a withdrawn key.
        def perform_authorized(verb, path, body, headers)
          response = perform(verb, path, body, headers, @token_signer.server_token)
          return response unless response.code == "401"

          @token_signer.forget_server_token
          perform(verb, path, body, headers, @token_signer.server_token)
        end

        def perform(verb, path, body, headers, token)
          request = verb.new(path, { **HEADERS, **headers, "Authorization" => "Bearer #{token}" })
          request.body = body if body || verb::REQUEST_HAS_BODY
          @connections.request(@uri, request).tap { |response| raise EOFError, "the response is incomplete" if truncated?(response) }
        end

        def truncated?(response)
          response.body && response.content_length && response.body.bytesize < response.content_length
        end

        # Returns nil if the request has failed for good. Repeating it is safe: appends
        # carry a producer's number, and all other requests are idempotent.
        def delay_before_retry(error, attempt, time_left)
          return (0 if attempt == 1 && stale?(error)) if @limits.max_retries.zero?

          wanted = error.respond_to?(:retry_after) && error.retry_after.to_f || 0
          delay = [ pause(attempt), wanted ].max
          if time_left.positive? && wanted <= @limits.retry_timeout
            [ delay, time_left ].min
          elsif attempt <= @limits.max_retries && wanted <= MAX_RETRY_DELAY
            delay
          end
        end

        def pause(attempt)
          [ retry_delay * 4**[ attempt - 1, 8 ].min, MAX_PAUSE ].min * rand(0.75..1.25)
        end

        # Whether the server had closed an idle connection, which is no failure. The
        # other connections may be closed too.
        def stale?(error)
          cause = error.cause || error
          (cause.is_a?(EOFError) || cause.is_a?(Errno::ECONNRESET) || cause.is_a?(Errno::EPIPE)).tap { |stale| @connections.reconnect if stale }
        end

        # Net::HTTP::Persistent's message names the wrong port; its cause has the right one.
        def unreachable(error)
          cause = error.is_a?(Net::HTTP::Persistent::Error) && error.cause || error
          ConnectionError.new(
            "the Durable Streams server at #{@url} cannot be reached: #{cause.message} (#{cause.class}). " \
            "Is it running (bin/durable-streams), and is DurableStreams.server_url right?")
        end

        def check(response, name, accept: [])
          status = response.code.to_i
          return response if status < 300 || accept.include?(status)
          raise failure(response, name).error
        end

        def page(response, name)
          offset_of(response, name)
          StreamPage.from(response, "#{@url}/#{name}")
        end

        # Returns the offset that every response of the server has.
        def offset_of(response, name)
          check(response, name)["Stream-Next-Offset"] || raise(foreign(response, name, "without Stream-Next-Offset"))
        end

        # Returns nil unless the text is a JSON object.
        def parse_object(text)
          document = JSON.parse(text.to_s)
          document if document.is_a?(Hash)
        rescue JSON::ParserError, EncodingError
          nil
        end

        # A proxy that responds in the server's place, as during a deploy, is as good as
        # no server.
        def foreign(response, name, how)
          ConnectionError.new("#{@url}/#{name} answered #{response.code} #{how}. Does DurableStreams.server_url lead to the server?")
        end

        def failure(response, name)
          Failure.new(response, "#{@url}/#{name}", config: @config)
        end

        def brief
          @brief || @mutex.synchronize do
            @brief ||= self.class.new(@url, token_signer: @token_signer, config: @config, limits: Limits.brief(@config.page_timeout))
          end
        end

        def build_connections
          Net::HTTP::Persistent.new(name: "durable_streams").tap do |http|
            http.open_timeout  = @limits.open_timeout
            http.read_timeout  = @limits.read_timeout
            http.write_timeout = @limits.write_timeout
            http.idle_timeout  = 30
            http.max_retries   = 0
          end
        end
    end
  end
end
