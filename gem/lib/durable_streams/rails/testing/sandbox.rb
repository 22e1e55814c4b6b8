# frozen_string_literal: true

# What one test captures. Tests that run in threads of one process have one
# each, which the threads that they start inherit.
#
# A thread of no running test, as the server's in a system test, belongs to the
# only test that runs; where several do, to none of them.
class DurableStreams::Rails::Testing::Sandbox # :nodoc:
  RUNNING = Set.new
  LOCK = Mutex.new
  private_constant :RUNNING, :LOCK

  attr_reader :streams

  # How many blocks have broadcast jobs run in place.
  attr_accessor :blocks_in_place

  def initialize
    @streams = {}
    @blocks_in_place = 0
  end

  # Outside of tests.
  SHARED = new
  private_constant :SHARED

  class << self
    def begin
      Fiber[:durable_streams_sandbox] = new.tap { |sandbox| LOCK.synchronize { RUNNING << sandbox } }
    end

    def end
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
