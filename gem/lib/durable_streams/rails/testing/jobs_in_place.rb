# frozen_string_literal: true

require "active_job"
require "concurrent/atomic/atomic_fixnum"

module DurableStreams
  module Rails
    module Testing
      # Runs broadcast jobs inline, whichever queue adapter the test has. The adapter is
      # not changed, because all threads share it.
      module JobsInPlace # :nodoc:
        INLINE = ActiveJob::QueueAdapters::InlineAdapter.new
        EVERYWHERE = Concurrent::AtomicFixnum.new
        private_constant :INLINE, :EVERYWHERE

        class << self
          def here
            install
            sandbox = Testing::Sandbox.current
            sandbox.blocks_in_place += 1
            yield
          ensure
            sandbox.blocks_in_place -= 1 if sandbox
          end

          def everywhere
            install
            EVERYWHERE.increment
            yield
          ensure
            EVERYWHERE.decrement
          end

          def active?
            EVERYWHERE.value.positive? || Testing::Sandbox.current.blocks_in_place.positive?
          end

          private
            def install
              BroadcastJob.singleton_class.prepend(self)
            end
        end

        def queue_adapter
          Testing::JobsInPlace.active? ? INLINE : super
        end
      end
    end
  end
end
