# frozen_string_literal: true

require "test_helper"

# Testing.with_server, as used by system tests.
class WithServerTest < RealServerTestCase
  include ActiveJob::TestHelper

  setup do
    start_server
    DurableStreams::Rails::Testing.enable!
    @post = Post.create!(title: "Post")
  end

  test "a model's broadcasts are on the server after a save in any thread" do
    with_server do
      comment = @post.comments.create!(body: "a")
      Thread.new { Fiber[:durable_streams_sandbox] = nil; comment.stream_update_later_to(@post) }.join

      assert_equal %w[ insert update ], DurableStreams.read_stream(@post).map { |event| event["headers"]["operation"] }
      assert_equal "200", Net::HTTP.get_response(URI(DurableStreams.signed_stream_url(@post))).code
    end
    assert_no_enqueued_jobs only: DurableStreams::Rails::BroadcastJob
  end

  test "the assertions read from the server" do
    with_server do
      assert_stream_broadcasts(@post, count: 2) { 2.times { @post.comments.create!(body: "a") } }
      assert_no_stream_broadcasts(@post) { @post.touch }
      assert_equal "b", capture_stream_broadcasts(@post) { @post.comments.create!(body: "b") }.sole["value"]["body"]
      assert_stream_broadcasts(@post, count: 3)
    end
  end

  test "each run begins with empty streams and restores the names" do
    2.times do
      with_server do
        assert_empty DurableStreams.read_stream(@post)
        @post.comments.create!(body: "a")
        assert_equal 1, DurableStreams.read_stream(@post).size
      end
    end
    DurableStreams::Rails::Testing.disable!
    assert_empty DurableStreams.read_stream(@post)
    assert_nil DurableStreams.config.stream_prefix
  end

  test "the app's own prefix is kept" do
    DurableStreams.config.stream_prefix = -> { @post }
    with_server { assert_match %r{/v1/streams/test-\h+/gid://dummy/Post/#{@post.id}/notes\?token=}, DurableStreams.signed_stream_url("notes") }
    DurableStreams.config.stream_prefix = -> { "acme" }
    with_server { assert_match %r{/v1/streams/test-\h+/acme/notes\?token=}, DurableStreams.signed_stream_url("notes") }
    assert_match "/v1/streams/acme/notes?token=", DurableStreams.signed_stream_url("notes")
  end

  test "an error ends the block" do
    assert_raises(RuntimeError) { with_server { raise "oops" } }
    assert DurableStreams::Rails::Testing.enabled?
    @post.comments.create!(body: "a")
    assert_enqueued_jobs 1, only: DurableStreams::Rails::BroadcastJob
  end

  private
    def with_server(&block)
      DurableStreams::Rails::Testing.with_server(&block)
    end
end
