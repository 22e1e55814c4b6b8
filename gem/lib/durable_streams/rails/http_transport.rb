# frozen_string_literal: true

require "json"
require "net/http/persistent"
require "openssl"
require "stringio"

module DurableStreams
  module Rails
    # Carries requests to the server over kept-alive connections, one pool for the
    # process. Every request is one that may be repeated: creating, closing and
    # deleting by their nature, appending because it carries a producer's identity.
    # So a failed one is repeated a few times before it counts as failed.
    #
    # Pages cannot wait that long: see #briefly.
    class HttpTransport
      autoload :Append, "durable_streams/rails/http_transport/append"
      autoload :Failure, "durable_streams/rails/http_transport/failure"
      autoload :Page, "durable_streams/rails/http_transport/page"

      # What goes wrong on the way to the server and back.
      NETWORK_ERRORS = [
        Net::HTTP::Persistent::Error, SystemCallError, SocketError, IOError, Timeout::Error,
        Net::HTTPBadResponse, Net::HTTPHeaderSyntaxError, OpenSSL::SSL::SSLError
      ].freeze

      # The first pause before a request is repeated, in seconds; each next one is four times as long.
      FIRST_PAUSE = 0.05

      # The longest Retry-After that a request waits for, in seconds. A longer one
      # fails the request, and the job is retried later.
      MAX_PAUSE = 2

      # Of every request. Said here because each header that a library adds by
      # itself costs microseconds.
      HEADERS = { "Connection" => "keep-alive", "Accept-Encoding" => "identity" }.freeze # :nodoc:
      JSON_TYPE = { "Content-Type" => "application/json" }.freeze # :nodoc:

      # Timeouts of a request, and the number of its retries.
      Budget = Struct.new(:open_timeout, :read_timeout, :write_timeout, :max_retries) do # :nodoc:
        # A connection that opens slowly and an answer that comes slowly take less
        # than twice the time together.
        def self.brief(seconds)
          new(seconds * 0.8, seconds, seconds, 0)
        end
      end

      # Where the server is, with the route.
      attr_reader :url

      # +budget+ defaults to the settings.
      def initialize(url, gatekeeper:, config:, budget: config)
        @url = url
        @uri = parse(url)
        @gatekeeper = gatekeeper
        @config = config
        @budget = budget
        @producers = Producers.new
        @breaker = CircuitBreaker.new(pause: config.page_retry_interval)
        @connections = build_connections
        @mutex = Mutex.new
      end

      # Yields a transport with short timeouts and a single attempt, for callers that
      # cannot wait. After a failure it yields nothing and returns nil for
      # +page_retry_interval+, in all threads.
      def briefly
        return unless @breaker.allow?

        yield(brief).tap { @breaker.close }
      rescue ConnectionError => error
        @breaker.open(retry_after: error.retry_after)
        raise
      rescue StandardError
        @breaker.close # It answered.
        raise
      end

      # Whether streams live in this process, so that their existence needs no cache.
      def in_memory?
        false
      end

      # Hides keys and tokens.
      def inspect
        "#<#{self.class.name} #{@url}>"
      end

      # Creates the stream, or confirms that it is there. Returns its tail.
      def create(name)
        response = request(Net::HTTP::Put, name, headers: JSON_TYPE)
        # A PUT below the server's route never answers 404.
        raise Failure.new(response, "#{@url}/#{name}").wrong_route if response.code == "404"

        check(response, name, accept: [ 409 ])["Stream-Next-Offset"]
      end

      # Appends events in one step and returns the new tail. With +producer+, an
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
        response = request(Net::HTTP::Post, name, headers: { "Stream-Closed" => "true" })
        check(response, name)["Stream-Next-Offset"]
      end

      # Deletes the stream and returns whether there was one.
      def delete(name)
        response = request(Net::HTTP::Delete, name)
        check(response, name, accept: [ 404, 410 ]).code.to_i < 300
      end

      # The stream's metadata, or nil.
      def metadata(name)
        response = request(Net::HTTP::Head, name)
        return if [ 404, 410 ].include?(response.code.to_i)

        check(response, name)
        StreamMetadata.new(
          content_type: response["Content-Type"],
          offset: response["Stream-Next-Offset"],
          closed: response["Stream-Closed"].to_s.casecmp?("true"),
          ttl: response["Stream-TTL"]&.to_i,
          expires_at: response["Stream-Expires-At"]&.then { |time| Time.iso8601(time) }
        )
      end

      # One Page of events after +offset+.
      def read(name, offset)
        response = request(Net::HTTP::Get, name, query: "offset=#{URI.encode_www_form_component(offset)}")
        check(response, name)
        Page.from(response, "#{@url}/#{name}")
      end

      private
        def parse(url)
          uri = URI.parse(url)
          return uri if uri.is_a?(URI::HTTP) && uri.host
          raise ConfigurationError, "DurableStreams.server_url is not an http or https URL: #{url.inspect}"
        rescue URI::InvalidURIError
          raise ConfigurationError, "DurableStreams.server_url is not a URL: #{url.inspect}"
        end

        def append_as(identity, name, body)
          response = request(Append, name, body: body, headers: { **JSON_TYPE, **identity.headers })
          # The server no longer knows this producer, so it has not taken this append.
          if response["Producer-Expected-Seq"] || (response.code == "403" && response["Producer-Epoch"])
            identity = @producers.fresh
            response = request(Append, name, body: body, headers: { **JSON_TYPE, **identity.headers })
          end
          check(response, name)["Stream-Next-Offset"]
        rescue ConnectionError => error
          error.producer = identity.to_h
          raise
        end

        # Repeats what failed on the way, or what the server could not answer just now.
        def request(verb, name, query: nil, body: nil, headers: {})
          path = "#{@uri.path}/#{StreamName.to_path(name)}#{"?#{query}" if query}"
          attempt = 0
          begin
            response = perform_authorized(verb, path, body, headers)
            raise Failure.new(response, "#{@url}/#{name}").connection_error if Failure.temporary?(response)
            response
          rescue ConnectionError, *NETWORK_ERRORS => error
            attempt += 1
            if repeat?(error, attempt)
              sleep pause_before(attempt, error)
              retry
            end
            raise error.is_a?(ConnectionError) ? error : unreachable(error)
          end
        end

        # The cached token may be signed with a withdrawn key.
        def perform_authorized(verb, path, body, headers)
          response = perform(verb, path, body, headers)
          return response unless response.code == "401"

          @gatekeeper.forget_server_token
          perform(verb, path, body, headers)
        end

        def repeat?(error, attempt)
          return attempt == 1 && stale?(error) if @budget.max_retries.zero?

          attempt <= @budget.max_retries && !(error.respond_to?(:retry_after) && error.retry_after.to_f > MAX_PAUSE)
        end

        # A kept-alive connection that the server closed is no failure of the server.
        # The others may be closed too.
        def stale?(error)
          cause = error.cause || error
          (cause.is_a?(EOFError) || cause.is_a?(Errno::ECONNRESET) || cause.is_a?(Errno::EPIPE)).tap { |stale| @connections.reconnect if stale }
        end

        # Net::HTTP::Persistent's own message names the wrong port; its cause has the right one.
        def unreachable(error)
          cause = error.is_a?(Net::HTTP::Persistent::Error) && error.cause || error
          ConnectionError.new(
            "the Durable Streams server at #{@url} cannot be reached: #{cause.message} (#{cause.class}). " \
            "Is it running (bin/durable-streams), and is DurableStreams.server_url right?")
        end

        def perform(verb, path, body, headers)
          request = verb.new(path, { **HEADERS, **headers, "Authorization" => "Bearer #{@gatekeeper.server_token}" })
          request.body = body if body || verb::REQUEST_HAS_BODY
          @connections.request(@uri, request).tap { |response| raise EOFError, "the answer broke off" if cut_short?(response) }
        end

        # Net::HTTP accepts a truncated body.
        def cut_short?(response)
          response.body && response.content_length && response.body.bytesize < response.content_length
        end

        def pause_before(attempt, error)
          return 0 if @budget.max_retries.zero?

          pause = FIRST_PAUSE * 4**(attempt - 1) * rand(0.75..1.25)
          error.respond_to?(:retry_after) ? [ pause, error.retry_after.to_f ].max : pause
        end

        def check(response, name, accept: [])
          status = response.code.to_i
          return response if status < 300 || accept.include?(status)
          raise Failure.new(response, "#{@url}/#{name}").error
        end

        def brief
          @brief || @mutex.synchronize do
            @brief ||= self.class.new(@url, gatekeeper: @gatekeeper, config: @config, budget: Budget.brief(@config.page_timeout))
          end
        end

        # Opens no connection before the first request.
        def build_connections
          Net::HTTP::Persistent.new(name: "durable_streams").tap do |http|
            http.open_timeout  = @budget.open_timeout
            http.read_timeout  = @budget.read_timeout
            http.write_timeout = @budget.write_timeout
            http.idle_timeout  = 30
            http.max_retries   = 0
          end
        end
    end
  end
end
