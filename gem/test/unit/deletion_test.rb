# frozen_string_literal: true

require "test_helper"

# A deleted stream stays deleted until its name is used again.
class DeletionTest < StubServerTestCase
  include ActiveJob::TestHelper

  setup { @cache = Rails.cache }
  teardown { Rails.cache = @cache }

  test "an older job does not create the stream again" do
    broadcast
    late
    DurableStreams.delete_stream("notes")
    perform_enqueued_jobs
    assert_not exists?

    DurableStreams.signed_stream_url("notes")
    late
    DurableStreams.delete_stream("notes")
    DurableStreams.signed_stream_url("notes")
    perform_enqueued_jobs
    assert_empty @server.events("notes")
  end

  test "a retry of an older job does not create the stream again" do
    late
    @server.script(:drop, :drop, :drop)
    perform_enqueued_jobs
    DurableStreams.delete_stream("notes")
    perform_enqueued_jobs
    assert_not exists?
    assert_no_enqueued_jobs
  end

  test "an older job in another process learns of the deletion from the cache" do
    Rails.cache = ActiveSupport::Cache::MemoryStore.new
    broadcast
    late
    DurableStreams.delete_stream("notes")
    DurableStreams::Rails::StreamDeletions.clear
    broadcast "others"
    perform_enqueued_jobs
    assert_not exists?

    late(key: "new")
    perform_enqueued_jobs
    assert_equal %w[ new ], @server.events("notes").pluck("key")
  end

  test "a failing cache does not fail the job" do
    Rails.cache = Class.new(ActiveSupport::Cache::MemoryStore) { def read(*, **) = raise(IOError, "away") }.new
    late
    assert_error_reported(IOError) { perform_enqueued_jobs }
    assert_equal 1, @server.events("notes").size
  end

  test "new broadcasts, jobs and URLs create the stream again" do
    [ -> { broadcast }, -> { late && perform_enqueued_jobs }, -> { DurableStreams.signed_stream_url("notes") }, -> { DurableStreams.stream_offset("notes") } ].each do |name_it|
      broadcast
      DurableStreams.delete_stream("notes")
      assert_not exists?
      freeze_time { name_it.call }
      assert exists?
    end
  end

  test "an older job creates a stream that the server lost" do
    broadcast
    late
    @server.lose_streams
    perform_enqueued_jobs
    assert_equal 1, @server.events("notes").size
  end

  test "a stream that is kept for its forks stays deleted" do
    broadcast
    late
    @server.script(problem(410, "deleted"))
    assert_raises(DurableStreams::StreamGone) { perform_enqueued_jobs }
    late
    DurableStreams.delete_stream("notes")
    @server.script(problem(410, "deleted"))
    assert_nothing_raised { perform_enqueued_jobs }
  end

  private
    def late(**options)
      DurableStreams.broadcast_event_later_to("notes", **EVENT, **options)
    end

    def exists?
      @server.streams.key?("/v1/streams/notes")
    end
end
