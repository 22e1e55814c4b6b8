# frozen_string_literal: true

# A test that talks to the real server over its internal listener.
class ServerTestCase < ActiveSupport::TestCase
  setup do
    @before = [ DurableStreams.client_url, DurableStreams.server_url, DurableStreams.config.to_h.dup ]
    DurableStreams::Rails::Testing.disable!
  end

  teardown do
    @server&.delete
    if @before
      DurableStreams.client_url, DurableStreams.server_url, config = @before
      DurableStreams.config.keys.each { |key| DurableStreams.config.delete(key) unless config.key?(key) }
      DurableStreams.config.merge!(config)
      DurableStreams::Rails::Testing.enable!
    end
  end

  private
    EVENT = { type: "note", key: "1", value: { "body" => "Hello" }, operation: :insert }.freeze

    def start_server(**options)
      @server = RealServer.new(verify_key: DurableStreams.config.signing_key.public_to_pem, **options)
      @server.start
      DurableStreams.client_url = @server.public_url
      DurableStreams.server_url = @server.internal_url
      DurableStreams.reset_connections
    end

    def configure(**options)
      DurableStreams.config.merge!(options)
      DurableStreams.reset_connections
    end

    def broadcast(stream = "notes", **options)
      DurableStreams.broadcast_event_to(stream, **EVENT, **options)
    end

    def keys_of(stream = "notes")
      DurableStreams.read_stream(stream).map { |event| event["key"] }
    end
end
