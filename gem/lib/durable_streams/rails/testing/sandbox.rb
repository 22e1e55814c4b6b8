# frozen_string_literal: true

module DurableStreams
  module Rails
    module Testing
      # The captured streams of one test. Each test in a parallel thread has its own,
      # and threads started by a test inherit it.
      #
      # A thread without one, such as a system test's server, uses the sandbox of the
      # only running test, or a shared one if several are running.
      class Sandbox # :nodoc:
        RUNNING = Set.new
        LOCK = Mutex.new
        private_constant :RUNNING, :LOCK

        attr_reader :streams

        # The number of open blocks in which broadcast jobs run inline.
        attr_accessor :inline_blocks

        def initialize
          @streams = {}
          @inline_blocks = 0
        end

        SHARED = new
        private_constant :SHARED

        class << self
          def start
            Fiber[:durable_streams_sandbox] = new.tap { |sandbox| LOCK.synchronize { RUNNING << sandbox } }
          end

          def finish
            LOCK.synchronize { RUNNING.delete(Fiber[:durable_streams_sandbox]) }
          end

          def current
            own = Fiber[:durable_streams_sandbox]
            LOCK.synchronize do
              next own if RUNNING.include?(own)
              RUNNING.one? ? RUNNING.first : SHARED
            end
          end
        end
      end
    end
  end
end
