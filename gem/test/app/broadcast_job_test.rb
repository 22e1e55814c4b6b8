# frozen_string_literal: true

require "test_helper"

class BroadcastJobTest < StubServerTestCase
  include ActiveJob::TestHelper

  setup { @post = Post.create!(title: "Post") }

  test "a record is saved while the server is down, and its event takes effect once" do
    @server.script(:drop, :drop, :drop)
    perform_enqueued_jobs(only: DurableStreams::Rails::BroadcastJob) { @post.comments.create!(body: "Hello") }

    assert_equal [ "Hello" ], events.map { |event| event["value"]["body"] }
  end

  test "an append whose responses were lost takes effect once over all attempts" do
    comment = Comment.suppressing_streams { @post.comments.create!(body: "Hello") }
    comment.stream_insert_to(@post)
    @server.script(:lose_answer, :drop, :drop)
    perform_enqueued_jobs { comment.stream_update_later_to(@post) }

    assert_equal %w[ insert update ], events.map { |event| event["headers"]["operation"] }
  end

  test "all attempts of a job have the same txid" do
    job = DurableStreams.build_broadcast_event_to("notes", type: "note", key: "1", value: 1, operation: :insert)
    perform_enqueued_jobs { job.enqueue }
    assert_equal job.job_id, @server.events("notes").first["headers"]["txid"]
  end

  test "the job sends the record's current state" do
    comment = @post.comments.create!(body: "Hello")
    comment.update_columns(body: "Later")
    perform_enqueued_jobs

    assert_equal [ "Later" ], events.map { |event| event["value"]["body"] }
  end

  test "a record that no longer exists is not sent" do
    comment = @post.comments.create!(body: "Hello")
    comment.delete
    perform_enqueued_jobs

    assert_empty events
  end

  test "a permanent refusal is not retried" do
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

  test "giving up is instrumented and logged" do
    given_up = []
    ActiveSupport::Notifications.subscribed(->(*, payload) { given_up << payload }, "broadcast_given_up.durable_streams") do
      perform_enqueued_jobs do
        @server.script(nil, [ 413, {}, "too large" ])
        assert_raises(DurableStreams::PayloadTooLarge) { DurableStreams.broadcast_event_later_to("notes", **EVENT) }
        @server.script(*[ :drop ] * 3 * DurableStreams::Rails::BroadcastJob::ATTEMPTS)
        assert_raises(DurableStreams::ConnectionError) { DurableStreams.broadcast_event_later_to("others", **EVENT) }
      end
    end

    assert_equal %w[ notes others ], given_up.pluck(:stream)
    assert_equal [ %w[ note 1 insert ] ] * 2, given_up.map { |payload| [ *payload[:event].values_at("type", "key"), payload[:event].dig("headers", "operation") ] }
    assert_equal [ DurableStreams::PayloadTooLarge, DurableStreams::ConnectionError ], given_up.map { |payload| payload[:exception_object].class }
  end

  test "the queue's own error report includes the stream and the record" do
    @server.script(nil, problem(413, "too large"))
    comment = @post.comments.create!(body: "Hello")
    error = assert_raises(DurableStreams::PayloadTooLarge) { perform_enqueued_jobs }
    report = assert_error_reported(DurableStreams::PayloadTooLarge) { Rails.error.report(error, handled: false) }
    assert_equal [ "gid://dummy/Post/#{@post.id}", comment.to_gid.to_s ], report.context.values_at(:stream, :record)
  end

  test "the job waits at least for Retry-After" do
    @server.script(problem(503, "starting", "Retry-After" => "600"))
    DurableStreams.build_broadcast_event_to("notes", **EVENT).perform_now
    assert_in_delta 600, Time.iso8601(enqueued_jobs.sole["scheduled_at"]) - Time.now, 5
  end

  test "the queue can be configured" do
    job = -> { DurableStreams.build_broadcast_event_to("notes", **EVENT).queue_name }
    assert_equal "default", job.call
    DurableStreams.config.queue = :streams
    assert_equal "streams", job.call
    DurableStreams::Rails::BroadcastJob.queue_as :mine
    assert_equal "mine", job.call
  ensure
    DurableStreams.config.queue = nil
    DurableStreams::Rails::BroadcastJob.queue_as { DurableStreams.config.queue }
  end

  test "the class has a load hook and does not log its arguments" do
    loaded = nil
    ActiveSupport.on_load(:durable_streams_broadcast_job) { loaded = self }
    assert_equal DurableStreams::Rails::BroadcastJob, loaded
    assert_not DurableStreams::Rails::BroadcastJob.log_arguments?
  end

  test "an unreachable database is not mistaken for a missing record" do
    @post.comments.create!(body: "Hello")
    GlobalID::Locator.stub(:locate, ->(*) { raise ActiveRecord::ConnectionNotEstablished }) do
      assert_raises(ActiveRecord::ConnectionNotEstablished) { perform_enqueued_jobs }
    end
  end

  private
    def events
      @server.events("gid://dummy/Post/#{@post.id}")
    end
end

# With a queue that runs jobs inline and cannot wait.
class InlineBroadcastJobTest < StubServerTestCase
  setup do
    @adapter, DurableStreams::Rails::BroadcastJob.queue_adapter = DurableStreams::Rails::BroadcastJob.queue_adapter, :inline
    @post = Post.create!(title: "Post")
  end

  teardown { DurableStreams::Rails::BroadcastJob.queue_adapter = @adapter }

  test "an unreachable server is reported and the row is saved" do
    @server.stop
    report = assert_error_reported(DurableStreams::ConnectionError) { @post.comments.create!(body: "Hello") }
    assert report.handled
    assert_equal [ Comment.last, "gid://dummy/Post/#{@post.id}" ], report.context.values_at(:record, :stream)
    assert_error_reported(DurableStreams::ConnectionError) { Comment.last.stream_update_later }
  end

  test "a refusal is reported and the row is saved" do
    @server.script(nil, problem(413, "too large"))
    assert_error_reported(DurableStreams::PayloadTooLarge) { @post.comments.create!(body: "Hello") }
    @server.script(problem(413, "too large"))
    assert_raises(DurableStreams::PayloadTooLarge) { Comment.last.stream_update_later_to(@post) }
  end
end
