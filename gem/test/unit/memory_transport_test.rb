# frozen_string_literal: true

require "test_helper"

class MemoryTransportTest < ActiveSupport::TestCase
  include TransportContract

  attr_reader :transport

  setup { @transport = DurableStreams::Rails::MemoryTransport.new }

  test "a stream with a TTL expires without access" do
    freeze_time
    transport.create("notes", ttl: 60)
    travel 59.seconds
    append("notes", 1)
    travel 59.seconds
    assert_equal [ 1 ], values(read("notes"))
    travel 59.seconds
    assert transport.metadata("notes"), "metadata is no access, and the TTL is not over"
    travel 1.second
    assert_nil transport.metadata("notes")
    assert_not transport.delete("notes")
    assert_refused(DurableStreams::StreamNotFound, 404, "not-found") { append("notes", 2) }
  end

  test "events returns what readers see, and clear removes all streams" do
    assert_empty transport.events("notes")
    transport.create("notes")
    append("notes", 1)
    assert_equal [ { "value" => 1 } ], transport.events("notes")
    transport.clear
    assert_nil transport.metadata("notes")
  end

  test "the block provides the streams" do
    mine, yours = {}, {}
    current = mine
    transport = DurableStreams::Rails::MemoryTransport.new { current }
    transport.create("notes")
    current = yours
    assert_nil transport.metadata("notes")
  end
end
