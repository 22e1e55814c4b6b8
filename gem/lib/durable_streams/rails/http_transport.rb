# frozen_string_literal: true

require "json"
require "net/http/persistent"
require "openssl"
require "stringio"

# Carries requests to the server over kept-alive connections, one pool for the
# process. Every request is one that may be repeated: creating, closing and
# deleting by their nature, appending because it carries a producer's identity.
# So a failed one is repeated a few times before it counts as failed.
class DurableStreams::Rails::HttpTransport
  autoload :Failure, "durable_streams/rails/http_transport/failure"

  # What goes wrong on the way to the server and back.
  NETWORK_ERRORS = [
    Net::HTTP::Persistent::Error, SystemCallError, SocketError, IOError, Timeout::Error,
    Net::HTTPBadResponse, Net::HTTPHeaderSyntaxError, OpenSSL::SSL::SSLError
  ].freeze

  # The first pause before a request is repeated, in seconds; each next one is four times as long.
  FIRST_PAUSE = 0.05

  # Of every request. Said here because each header that a library adds by
  # itself costs microseconds.
  HEADERS = { "Connection" => "keep-alive", "Accept-Encoding" => "identity" }.freeze # :nodoc:
  JSON_TYPE = { "Content-Type" => "application/json" }.freeze # :nodoc:

  # A POST that knows how its headers are written, where Net::HTTP takes each
  # name apart and puts it together again in each request, and that leaves in one
  # piece, where Net::HTTP's head wakes a server that still lacks the body.
  class Append < Net::HTTP::Post # :nodoc:
    WRITTEN = %w[
      Accept Accept-Encoding Authorization Connection Content-Length Content-Type Host
      Producer-Epoch Producer-Id Producer-Seq User-Agent
    ].index_by(&:downcase).freeze

    private
      def capitalize(name)
        WRITTEN[name] || super
      end

      def send_request_with_body(socket, version, path, body)
        self.content_length = body.bytesize
        write_header(head = StringIO.new, version, path)
        socket.write(head.string << body)
      end
  end

  # A page of a stream, as DurableStreams::Rails::Feeds#read_stream gathers them.
  Page = Struct.new(:events, :offset, :closed, :up_to_date)

  # Where the server is, with the route.
  attr_reader :url

  def initialize(url, gatekeeper:, config:)
    @url = url
    @uri = parse(url)
    @gatekeeper = gatekeeper
    @config = config
    @producers = DurableStreams::Rails::Producers.new
    @connections = build_connections
  end

  # Creates the stream, or confirms that it is there. Returns its tail.
  def create(name)
    response = request(Net::HTTP::Put, name, headers: JSON_TYPE)
    check(response, name, accept: [ 409 ])["Stream-Next-Offset"]
  end

  # Appends events in one step and returns the new tail. With +producer+, an
  # identity from a DurableStreams::ConnectionError, it repeats that append.
  def append(name, events, producer: nil)
    body = JSON.generate(events)
    if producer
      append_as(DurableStreams::Rails::Producers::Identity.from(producer), name, body)
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
    DurableStreams::Rails::StreamMetadata.new(
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
    body = response.body.to_s
    Page.new(body.empty? ? [] : JSON.parse(body), response["Stream-Next-Offset"],
      response["Stream-Closed"].to_s.casecmp?("true"), response["Stream-Up-To-Date"].to_s.casecmp?("true"))
  rescue JSON::ParserError
    raise DurableStreams::ConnectionError, "#{@url}/#{name} broke off, or is no stream of JSON"
  end

  private
    def parse(url)
      uri = URI.parse(url)
      return uri if uri.is_a?(URI::HTTP) && uri.host
      raise DurableStreams::ConfigurationError, "DurableStreams.server_url is not an http or https URL: #{url.inspect}"
    rescue URI::InvalidURIError
      raise DurableStreams::ConfigurationError, "DurableStreams.server_url is not a URL: #{url.inspect}"
    end

    def append_as(identity, name, body)
      response = request(Append, name, body: body, headers: { **JSON_TYPE, **identity.headers })
      # The server no longer knows this producer, so it has not taken this append.
      if response["Producer-Expected-Seq"] || (response.code == "403" && response["Producer-Epoch"])
        identity = @producers.fresh
        response = request(Append, name, body: body, headers: { **JSON_TYPE, **identity.headers })
      end
      check(response, name)["Stream-Next-Offset"]
    rescue DurableStreams::ConnectionError => error
      error.producer = identity.to_h
      raise
    end

    # Repeats what failed on the way, or what the server could not answer just now.
    def request(verb, name, query: nil, body: nil, headers: {})
      path = "#{@uri.path}/#{DurableStreams::Rails::StreamName.to_path(name)}#{"?#{query}" if query}"
      attempt = 0
      begin
        response = perform(verb, path, body, headers)
        if response.code == "401" && attempt.zero?
          @gatekeeper.forget_server_token
          response = perform(verb, path, body, headers)
        end
        raise Failure.new(response, "#{@url}/#{name}").connection_error if Failure.temporary?(response)
        response
      rescue DurableStreams::ConnectionError, *NETWORK_ERRORS => error
        if (attempt += 1) <= @config.max_retries
          sleep pause_before(attempt)
          retry
        end
        raise error if error.is_a?(DurableStreams::ConnectionError)
        raise DurableStreams::ConnectionError,
          "the Durable Streams server at #{@url} cannot be reached: #{error.message} (#{error.class}). " \
          "Is it running (bin/durable-streams), and is DurableStreams.server_url right?"
      end
    end

    def perform(verb, path, body, headers)
      request = verb.new(path, { **HEADERS, **headers, "Authorization" => "Bearer #{@gatekeeper.server_token}" })
      request.body = body if body || verb::REQUEST_HAS_BODY
      @connections.request(@uri, request)
    end

    def pause_before(attempt)
      FIRST_PAUSE * 4**(attempt - 1) * rand(0.75..1.25)
    end

    def check(response, name, accept: [])
      status = response.code.to_i
      return response if status < 300 || accept.include?(status)
      raise Failure.new(response, "#{@url}/#{name}").error
    end

    # Opens no connection before the first request.
    def build_connections
      Net::HTTP::Persistent.new(name: "durable_streams").tap do |http|
        http.open_timeout  = @config.open_timeout
        http.read_timeout  = @config.read_timeout
        http.write_timeout = @config.write_timeout
        http.idle_timeout  = 30
        http.max_retries   = 0
      end
    end
end
