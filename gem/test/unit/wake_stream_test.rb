# frozen_string_literal: true

require "test_helper"

class WakeStreamTest < StubServerTestCase
  # Ends a loop that has no end.
  class Enough < StandardError; end

  setup do
    configure max_retries: 0
    @pauses = []
    @stream = DurableStreams::Worker::WakeStream.new("wakes", pause: ->(seconds) { @pauses << seconds; @after_pause&.call })
  end

  test "wakes are yielded once for each subscription" do
    create
    broadcast_wakes "a", "b"
    assert_equal [ :all ], follow(1), "those before the start are covered by :all"

    following { broadcast_wakes "a", "b", "a" }
    assert_equal [ :all, "a", "b" ], follow(3)
  end

  test "other events are ignored" do
    following { [ { type: "other", subscription_id: "x" }, { type: "wake" } ].each { |event| DurableStreams.broadcast_to("wakes", **event, key: "1") } && broadcast_wakes("a") }
    assert_equal [ :all, "a" ], follow(2)
  end

  test "a server that is away is tried again with growing pauses" do
    following { @server.stop; @server.close_connections }
    @after_pause = -> { @server.restart if @pauses.size == 3 }
    assert_equal [ :all, :all ], follow(2)

    assert_equal 3, @pauses.size
    assert_equal @pauses.sort, @pauses
  end

  test "after an interruption all are woken, because wakes may have been missed" do
    following { @server.lose_streams }
    @after_pause = -> { @after_pause = nil }
    assert_equal [ :all, :all ], follow(2)
    assert_equal 2, sent("PUT").size
  end

  test "the stream is created with a retention, because it gets an event for each wake" do
    assert_equal [ :all ], follow(1)
    assert_equal [ "1048576" ], sent("PUT").map { |request| request.headers["stream-retention-bytes"] }
  end

  test "a stream that exists with another retention is followed as it is" do
    create
    broadcast_wakes "a", "b"
    @server.script problem(409, "the stream exists with another retention", code: "exists")
    following { broadcast_wakes "c" }

    assert_equal [ :all, "c" ], follow(2)
  end

  test "after its retention has dropped wakes, all are woken" do
    following { @server.script problem(410, "data at this offset has been removed by retention", code: "given-up") }
    @after_pause = -> { broadcast_wakes "a" }
    assert_equal [ :all, :all ], follow(2), "the wakes before it are covered by :all"
  end

  test "a closed stream is an error, and does not end the worker" do
    following { DurableStreams.close_stream("wakes") }
    @after_pause = -> { raise Enough }
    reports = []
    Rails.error.stub(:report, ->(error, **) { reports << error }) { assert_raises(Enough) { follow(9) } }
    assert_match "the wake stream wakes is closed", reports.sole.message
  end

  test "a server that ends polls at once is not asked without pauses" do
    create
    @server.answer("/v1/streams/wakes") { |request| request.verb == "PUT" ? [ 200, { "Stream-Next-Offset" => "0" } ] : [ 204, { "Stream-Next-Offset" => "0" } ] }
    @after_pause = -> { raise Enough if @pauses.size == 3 }
    assert_raises(Enough) { follow(9) }
    assert_equal 3, sent("GET").size
  end

  private
    def create
      DurableStreams.provisioner.create_stream("wakes")
    end

    # Runs the block after the first :all.
    def following(&block)
      @started = block
    end

    # Returns that many yielded ids.
    def follow(count)
      seen = []
      @stream.each do |id|
        seen << id
        @started.call.tap { @started = nil } if @started
        raise Enough if seen.size == count
      end
    rescue Enough
      seen.size == count ? seen : raise
    end

    def broadcast_wakes(*ids)
      ids.each { |id| DurableStreams.broadcast_to("wakes", type: "wake", key: "1", subscription_id: id) }
    end
end
