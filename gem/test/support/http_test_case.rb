# frozen_string_literal: true

# A test that sends to a StubServer.
class HttpTestCase < ActiveSupport::TestCase
  setup do
    @server = StubServer.new
    @server_url = DurableStreams.server_url
    DurableStreams::Rails::Testing.disable!
    DurableStreams.server_url = @server.url
  end

  teardown do
    @server.stop
    DurableStreams.server_url = @server_url
    DurableStreams::Rails::Testing.enable!
  end

  private
    EVENT = { type: "note", key: "1", value: { "body" => "Hello" }, operation: :insert }.freeze

    def broadcast(stream = "notes", **options)
      DurableStreams.broadcast_event_to(stream, **EVENT, **options)
    end

    def problem(status, detail, headers = {})
      [ status, { "Content-Type" => "application/problem+json" }.merge(headers), { title: "Refused", detail: detail }.to_json ]
    end

    def sent(verb)
      @server.requests.select { |request| request.verb == verb }
    end

    def with_config(**options)
      before = DurableStreams.config.slice(*options.keys)
      DurableStreams.config.merge!(options)
      DurableStreams.reset_connections
      yield
    ensure
      options.each_key { |key| DurableStreams.config[key] = before[key] }
      DurableStreams.reset_connections
    end
end
