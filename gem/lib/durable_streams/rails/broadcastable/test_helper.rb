# frozen_string_literal: true

# Assertions about broadcasts. Included in ActiveSupport::TestCase by the
# engine.
#
# In the block of each, broadcast jobs run where they are enqueued, so that a
# model's broadcasts have happened when the block ends.
module DurableStreams::Rails::Broadcastable::TestHelper
  def before_setup # :nodoc:
    DurableStreams::Rails::Testing.clear
    super
  end

  # Asserts that events were broadcast to the stream; with +count+, so many.
  #
  #   assert_stream_broadcasts @post, count: 1 do
  #     @post.comments.create!(body: "Hello")
  #   end
  #
  # Without a block it is about the test so far.
  def assert_stream_broadcasts(*streamables, count: nil, &block)
    events = capture_stream_broadcasts(*streamables, &block)
    name = test_stream_name_from(streamables)

    if count.nil?
      assert_not_empty events, "Expected at least one broadcast on #{name.inspect}, but there were none"
    else
      assert count == events.size,
        "Expected #{count} #{"broadcast".pluralize(count)} on #{name.inspect}, but there #{events.size == 1 ? "was" : "were"} #{events.size}"
    end
  end

  # Asserts that nothing was broadcast to the stream.
  #
  #   assert_no_stream_broadcasts @post do
  #     Comment.suppressing_streams { @post.comments.create!(body: "Silent") }
  #   end
  def assert_no_stream_broadcasts(*streamables, &block)
    events = capture_stream_broadcasts(*streamables, &block)
    assert events.empty?,
      "Expected no broadcasts on #{test_stream_name_from(streamables).inspect}, but there #{events.size == 1 ? "was" : "were"} #{events.size}"
  end

  # The events broadcast to the stream, as readers see them: hashes with
  # string keys.
  #
  #   events = capture_stream_broadcasts(@post) { @post.comments.create!(body: "Hello") }
  #   assert_equal "insert", events.first["headers"]["operation"]
  def capture_stream_broadcasts(*streamables, &block)
    name = test_stream_name_from(streamables)
    return DurableStreams::Rails::Testing.broadcasts(name) unless block

    before = DurableStreams::Rails::Testing.broadcasts(name).size
    performing_broadcast_jobs(&block)
    DurableStreams::Rails::Testing.broadcasts(name).drop(before)
  end

  private
    def test_stream_name_from(streamables)
      DurableStreams.send(:stream_name_from, streamables.flatten.compact_blank)
    end

    def performing_broadcast_jobs(&block)
      if !defined?(::ActiveJob)
        yield
      elsif performs_enqueued_jobs?
        perform_enqueued_jobs(only: DurableStreams::Rails::BroadcastJob, &block)
      else
        performing_broadcast_jobs_inline(&block)
      end
    end

    # Whether the test has ActiveJob::TestHelper and its adapter.
    def performs_enqueued_jobs?
      respond_to?(:perform_enqueued_jobs) &&
        DurableStreams::Rails::BroadcastJob.queue_adapter.is_a?(ActiveJob::QueueAdapters::TestAdapter)
    end

    def performing_broadcast_jobs_inline
      adapter = DurableStreams::Rails::BroadcastJob.queue_adapter
      DurableStreams::Rails::BroadcastJob.queue_adapter = :inline
      yield
    ensure
      DurableStreams::Rails::BroadcastJob.queue_adapter = adapter
    end
end
