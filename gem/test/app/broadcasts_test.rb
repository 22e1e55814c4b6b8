# frozen_string_literal: true

require "test_helper"
require "active_support/log_subscriber/test_helper"

class BroadcastsTest < ActiveSupport::TestCase
  setup { @post = Post.create!(title: "Post") }

  test "an event can have any form" do
    events = capture_stream_broadcasts @post, :presence do
      DurableStreams.broadcast_to(@post, :presence, type: "presence", key: 7, value: { id: 7, at: Time.utc(2026) }, headers: { operation: "insert" })
    end

    assert_equal({ "id" => 7, "at" => "2026-01-01T00:00:00.000Z" }, events.first["value"])
    assert_equal "7", events.first["key"]
    assert_equal "insert", events.first["headers"]["operation"]
    assert_predicate events.first["headers"]["txid"], :present?
  end

  test "blank streamables broadcast nothing" do
    assert_nil DurableStreams.broadcast_to(nil, [], type: "a", key: "b")
    assert_nil DurableStreams.broadcast_event_to(nil, type: "a", key: "b", operation: :insert)
    assert_nil DurableStreams.broadcast_event_later_to("", type: "a", key: "b", operation: :insert)
    assert_nil DurableStreams.build_broadcast_event_to(type: "a", key: "b", operation: :insert)
    assert_raises(ArgumentError) { DurableStreams.broadcast_to(nil, [ @post, nil ], type: "a", key: "b") }
    assert_equal "gid://dummy/Post/#{@post.id}", capture_stream_name { DurableStreams.broadcast_to([ [ @post ] ], type: "a", key: "b") }
  end

  test "invalid events raise, now and later" do
    valid = { type: "note", key: 1, value: 1, operation: :insert }
    [ { operation: :inser }, { operation: nil }, { operation: "" }, { operation: :INSERT }, { key: nil }, { key: "" }, { key: @post }, { key: [ 1 ] }, { key: { id: 1 } }, { key: -> { } }, { key: true }, { key: false }, { type: nil }, { type: " " }, { type: @post }, { txid: @post }, { headers: "x" }, { headers: [ 1 ] } ].each do |wrong|
      assert_raises(ArgumentError, wrong.inspect) { DurableStreams.broadcast_event_to("notes", **valid, **wrong) }
      assert_raises(ArgumentError, wrong.inspect) { DurableStreams.broadcast_event_later_to("notes", **valid, **wrong) }
      assert_raises(ArgumentError, wrong.inspect) { DurableStreams.build_broadcast_event_to("notes", **valid, **wrong) }
    end
    [ { headers: { operation: :inser } }, { headers: { "operation" => nil } }, { headers: 1 }, { key: nil }, { key: @post }, { type: "" }, { operation: :insert }, { txid: "1" } ].each do |wrong|
      assert_raises(ArgumentError, wrong.inspect) { DurableStreams.broadcast_to("notes", type: "note", key: "1", **wrong) }
    end
    assert_raises(ArgumentError) { DurableStreams.broadcast_event_later_to("notes", **valid, valeu: 1) }
    assert_empty DurableStreams.read_stream("notes")
  end

  test "omitted parts are not sent" do
    DurableStreams.broadcast_to("notes", type: "note", key: "1", headers: nil)
    DurableStreams.broadcast_to("notes", type: "note", key: "1", value: nil)
    DurableStreams.broadcast_to("notes", headers: { control: "snapshot-start" })
    DurableStreams.broadcast_event_to("notes", type: "note", key: "1", operation: "delete", headers: nil, txid: 7)
    plain, null, control, delete = DurableStreams.read_stream("notes").to_a

    assert_equal %w[ headers key type ], plain.keys.sort
    assert_equal [ nil, true ], [ null["value"], null.key?("value") ]
    assert_equal [ %w[ headers ], "snapshot-start" ], [ control.keys, control.dig("headers", "control") ]
    assert_equal({ "operation" => "delete", "txid" => "7" }, delete["headers"])
    assert_not_includes delete, "value"
  end

  test "an event that cannot be encoded raises an error that names the part" do
    { { a: [ "ok", { b: "x\xFF" } ] } => "value.a.1.b is not valid UTF-8", "\xFF".b => "value is not valid UTF-8" }.each do |value, message|
      failed = []
      ActiveSupport::Notifications.subscribed(->(*, payload) { failed << payload }, "broadcast_failed.durable_streams") do
        error = assert_raises(DurableStreams::InvalidEvent) { DurableStreams.broadcast_event_to("notes", type: "note", key: "1", value: value, operation: :insert) }
        assert_match "the event note/1 cannot be sent as JSON: #{message}", error.message
        assert_equal [ error ], failed.pluck(:exception_object)
      end
    end
  end

  test "each broadcast is instrumented" do
    payloads = []
    ActiveSupport::Notifications.subscribed(->(*, payload) { payloads << payload }, "broadcast.durable_streams") do
      DurableStreams.broadcast_event_to("notes", type: "note", key: "1", value: 1, operation: :insert)
    end

    assert_equal [ "notes" ], payloads.pluck(:stream)
    assert_equal "note", payloads.first[:event]["type"]
    assert_predicate payloads.first[:offset], :present?
  end

  test "many jobs can be enqueued at once" do
    jobs = 3.times.map { |at| DurableStreams.build_broadcast_event_to("notes", type: "note", key: at, value: { at: at }, operation: :insert) }
    assert_stream_broadcasts("notes", count: 3) { ActiveJob.perform_all_later(jobs) }
  end

  test "broadcasts and failures are logged" do
    logger = ActiveSupport::LogSubscriber::TestHelper::MockLogger.new
    was, ActiveSupport::LogSubscriber.logger = ActiveSupport::LogSubscriber.logger, logger
    DurableStreams.broadcast_event_to("notes", type: "note", key: "1", value: 1, operation: :insert)
    DurableStreams.close_stream("notes")
    assert_raises(DurableStreams::StreamClosed) { DurableStreams.broadcast_event_to("notes", type: "note", key: "1", value: 1, operation: :insert) }

    assert_match %r{insert note/1 to notes \(\d+\.\d+ms\)}, logger.logged(:debug).first
    assert_match %r{insert note/1 to notes failed: the stream notes is closed}, logger.logged(:error).first
  ensure
    ActiveSupport::LogSubscriber.logger = was
  end

  private
    def capture_stream_name(&block)
      names = []
      ActiveSupport::Notifications.subscribed(->(*, payload) { names << payload[:stream] }, "broadcast.durable_streams", &block)
      names.first
    end
end
