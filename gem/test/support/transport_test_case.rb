# frozen_string_literal: true

# A test that sends to a server. Restores the settings, and captures broadcasts again,
# after each test.
class TransportTestCase < ActiveSupport::TestCase
  EVENT = { type: "note", key: "1", value: { "body" => "Hello" }, operation: :insert }.freeze

  setup do
    @settings = DurableStreams.config.to_h.dup
    DurableStreams::Rails::Testing.disable!
  end

  teardown do
    configure(**@settings)
    DurableStreams::Rails::Testing.enable!
  end

  private
    def configure(**settings)
      DurableStreams.config.merge!(settings)
      DurableStreams.reset_connections
    end

    def broadcast(stream = "notes", **options)
      DurableStreams.broadcast_event_to(stream, **EVENT, **options)
    end
end

# Sends to a StubServer, which fails in chosen ways.
class StubServerTestCase < TransportTestCase
  setup do
    @server = StubServer.new
    @retry_delay, DurableStreams::Rails::HttpTransport.retry_delay = DurableStreams::Rails::HttpTransport.retry_delay, 0
    configure(server_url: @server.url, retry_timeout: 0)
  end

  teardown do
    @server.stop
    DurableStreams::Rails::HttpTransport.retry_delay = @retry_delay
  end

  private
    # Returns a response: status, headers and problem document.
    def problem(status, detail, code: "stub", **headers)
      [ status, { "Content-Type" => "application/problem+json" }.merge(headers),
        { type: "urn:durable-streams:problem:#{code}", title: "Stub", detail: detail }.to_json ]
    end

    def sent(verb)
      @server.requests.select { |request| request.verb == verb }
    end
end

# Sends to the real server, over its internal listener.
class RealServerTestCase < TransportTestCase
  teardown { @server&.delete }

  private
    def start_server(**options)
      @server = RealServer.new(verify_key: DurableStreams.config.signing_key.public_to_pem, **options)
      @server.start
      configure(client_url: @server.public_url, server_url: @server.internal_url)
    end

    def keys_of(stream = "notes")
      DurableStreams.read_stream(stream).map { |event| event["key"] }
    end
end
