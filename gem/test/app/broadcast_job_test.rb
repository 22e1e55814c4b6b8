# frozen_string_literal: true

require "test_helper"

class BroadcastJobTest < HttpTestCase
  include ActiveJob::TestHelper

  setup { @post = Post.create!(title: "Post") }

  test "a record is saved while the server is away, and its event arrives once" do
    @server.script(:drop, :drop, :drop)
    perform_enqueued_jobs(only: DurableStreams::Rails::BroadcastJob) { @post.comments.create!(body: "Hello") }

    assert_equal [ "Hello" ], events.map { |event| event["value"]["body"] }
  end

  test "an append whose answers were all lost arrives once, over the job's tries" do
    comment = Comment.suppressing_streams { @post.comments.create!(body: "Hello") }
    comment.stream_insert_to(@post)
    @server.script(:lose_answer, :drop, :drop)
    perform_enqueued_jobs { comment.stream_update_later_to(@post) }

    assert_equal %w[ insert update ], events.map { |event| event["headers"]["operation"] }
  end

  test "the tries of a job have one txid" do
    job = DurableStreams.build_broadcast_event_to("notes", type: "note", key: "1", value: 1, operation: :insert)
    perform_enqueued_jobs { job.enqueue }
    assert_equal job.job_id, @server.events("notes").first["headers"]["txid"]
  end

  test "the record is sent as it is when the job runs" do
    comment = @post.comments.create!(body: "Hello")
    comment.update_columns(body: "Later")
    perform_enqueued_jobs

    assert_equal [ "Later" ], events.map { |event| event["value"]["body"] }
  end

  test "a record that is gone is not sent" do
    comment = @post.comments.create!(body: "Hello")
    comment.delete
    perform_enqueued_jobs

    assert_empty events
  end

  test "a refusal that will not change is not retried" do
    @server.script(nil, [ 413, {}, "too large" ])
    job = DurableStreams.build_broadcast_event_to("notes", type: "note", key: "1", value: 1, operation: :insert)
    assert_raises(DurableStreams::PayloadTooLarge) { job.perform_now }
    assert_no_enqueued_jobs
  end

  test "a job inside a transaction is enqueued after the commit" do
    Comment.transaction do
      DurableStreams.broadcast_event_later_to(@post, type: "note", key: "1", value: 1, operation: :insert)
      assert_no_enqueued_jobs
    end
    assert_enqueued_jobs 1
  end

  private
    def events
      @server.events("gid://dummy/Post/#{@post.id}")
    end
end
