# frozen_string_literal: true

module DurableStreams
  module Rails
    module Broadcastable
      # Assertions about broadcasts. Included in ActiveSupport::TestCase by the
      # engine.
      #
      # Broadcast jobs that are enqueued in a block run inline, so a model's
      # broadcasts have happened when the block ends.
      module TestHelper
        def before_setup # :nodoc:
          Testing.begin_test
          super
        end

        def after_teardown # :nodoc:
          super
        ensure
          Testing.end_test
        end

        # Asserts that events were broadcast to the stream, exactly +count+ if given.
        #
        #   assert_stream_broadcasts @post, count: 1 do
        #     @post.comments.create!(body: "Hello")
        #   end
        #
        # Without a block, all broadcasts of the test count.
        def assert_stream_broadcasts(*streamables, count: nil, &block)
          events = capture_stream_broadcasts(*streamables, &block)
          name = StreamName.from(streamables)

          if count.nil?
            assert events.any?, "Expected at least one broadcast on #{name.inspect}, but there were none#{broadcast_hint(block)}"
          else
            assert count == events.size,
              "Expected #{count} #{"broadcast".pluralize(count)} on #{name.inspect}, but there #{events.size == 1 ? "was" : "were"} #{events.size}#{broadcast_hint(block)}"
          end
        end

        # Asserts that no events were broadcast to the stream.
        #
        #   assert_no_stream_broadcasts @post do
        #     Comment.suppressing_streams { @post.comments.create!(body: "Silent") }
        #   end
        def assert_no_stream_broadcasts(*streamables, &block)
          events = capture_stream_broadcasts(*streamables, &block)
          assert events.empty?,
            "Expected no broadcasts on #{StreamName.from(streamables).inspect}, but there #{events.size == 1 ? "was" : "were"} #{events.size}"
        end

        # Returns the events broadcast to the stream as readers see them: hashes with
        # string keys.
        #
        #   events = capture_stream_broadcasts(@post) { @post.comments.create!(body: "Hello") }
        #   assert_equal "insert", events.first["headers"]["operation"]
        def capture_stream_broadcasts(*streamables, &block)
          name = StreamName.from(streamables)
          return Testing.broadcasts(name) unless block

          before = Testing.broadcasts(name).size
          collecting_failed_broadcasts { Testing.performing_jobs(&block) }
          Testing.broadcasts(name).drop(before)
        end

        private
          # Failures after a commit are reported, not raised, so assertions name them.
          def collecting_failed_broadcasts(&block)
            @durable_streams_failures = []
            sandbox = Testing::Sandbox.current
            collect = ->(*, payload) do
              @durable_streams_failures << payload[:exception_object] if sandbox.equal?(Testing::Sandbox.current)
            end
            ActiveSupport::Notifications.subscribed(collect, "broadcast_failed.durable_streams", &block)
          end

          # Explains missing broadcasts.
          def broadcast_hint(block)
            if block
              @durable_streams_failures.map { |error| ". #{error.class}: #{error.message}" }.uniq.join
            elsif (count = enqueued_broadcast_jobs) > 0
              ". #{count} broadcast #{"job".pluralize(count)} #{count == 1 ? "is" : "are"} enqueued; jobs run inside the block"
            end
          end

          def enqueued_broadcast_jobs
            return 0 unless defined?(::ActiveJob) && BroadcastJob.queue_adapter.is_a?(ActiveJob::QueueAdapters::TestAdapter)

            BroadcastJob.queue_adapter.enqueued_jobs.count { |job| job["job_class"] == BroadcastJob.name }
          end
      end
    end
  end
end
