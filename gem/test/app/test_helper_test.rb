# frozen_string_literal: true

require "test_helper"

class TestHelperTest < ActiveSupport::TestCase
  setup { @post = Post.create!(title: "Post") }

  test "failures say what was expected" do
    assert_fails(/at least one broadcast on "gid:.*", but there were none/) { assert_stream_broadcasts(@post) }
    assert_fails(/Expected 2 broadcasts on ".*", but there was 1/) { assert_stream_broadcasts(@post, count: 2) { @post.comments.create!(body: "a") } }
    assert_fails(/Expected no broadcasts on ".*", but there was 1/) { assert_no_stream_broadcasts(@post) }
  end

  test "a block is about itself, no block about the test so far" do
    broadcast
    assert_stream_broadcasts("notes", count: 1) { broadcast }
    assert_no_stream_broadcasts("notes") { @post.touch }
    assert_stream_broadcasts("notes", count: 2)
    assert_equal 2, capture_stream_broadcasts([ :notes ]).size
  end

  test "each test begins with nothing" do
    assert_no_stream_broadcasts "notes"
  end

  test "broadcast jobs run in place only inside the block" do
    adapter = DurableStreams::Rails::BroadcastJob.queue_adapter
    capture_stream_broadcasts("notes") { assert_instance_of ActiveJob::QueueAdapters::InlineAdapter, DurableStreams::Rails::BroadcastJob.queue_adapter }
    assert_same adapter, DurableStreams::Rails::BroadcastJob.queue_adapter
  end

  test "the server's transport, for a while" do
    DurableStreams::Rails::Testing.with_server do
      assert_instance_of DurableStreams::Rails::HttpTransport, DurableStreams.transport
    end
    assert DurableStreams::Rails::Testing.enabled?
  end

  private
    def broadcast
      DurableStreams.broadcast_to("notes", type: "note", key: "1")
    end

    def assert_fails(message, &block)
      assert_match message, assert_raises(Minitest::Assertion, &block).message
    end
end
