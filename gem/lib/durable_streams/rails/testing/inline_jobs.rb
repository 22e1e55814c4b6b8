# frozen_string_literal: true

require "active_job"
require "concurrent/atomic/atomic_fixnum"

module DurableStreams
  module Rails
    module Testing
      # Runs broadcast jobs inline, whatever the test's queue adapter. The adapter
      # itself is not changed, because all threads share it.
      module InlineJobs # :nodoc:
        ADAPTER = ActiveJob::QueueAdapters::InlineAdapter.new
        GLOBAL_BLOCKS = Concurrent::AtomicFixnum.new
        private_constant :ADAPTER, :GLOBAL_BLOCKS

        class << self
          def in_this_test
            install
            sandbox = Sandbox.current
            sandbox.inline_blocks += 1
            yield
          ensure
            sandbox.inline_blocks -= 1 if sandbox
          end

          def in_all_threads
            install
            GLOBAL_BLOCKS.increment
            yield
          ensure
            GLOBAL_BLOCKS.decrement
          end

          def active?
            GLOBAL_BLOCKS.value.positive? || Sandbox.current.inline_blocks.positive?
          end

          private
            def install
              BroadcastJob.singleton_class.prepend(self)
            end
        end

        def queue_adapter
          InlineJobs.active? ? ADAPTER : super
        end
      end
    end
  end
end
