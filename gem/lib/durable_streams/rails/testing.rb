# frozen_string_literal: true

require "openssl"
require "securerandom"

module DurableStreams
  module Rails
    # Captures broadcasts in memory instead of sending them, at the transport: all
    # above it, from callbacks and jobs to the form of an event, is the real thing.
    #
    # The engine turns it on when ActiveSupport::TestCase is loaded. Under another
    # test framework turn it on by hand:
    #
    #   RSpec.configure do |config|
    #     config.before { DurableStreams::Rails::Testing.enable! }
    #   end
    module Testing
      autoload :JobsInPlace, "durable_streams/rails/testing/jobs_in_place"
      autoload :Sandbox, "durable_streams/rails/testing/sandbox"

      class << self
        # Captures from now on, beginning with nothing. Where the app has no
        # signing key, as on CI, URLs are signed with one made up for the process.
        def enable!
          DurableStreams.config.signing_key ||= OpenSSL::PKey::EC.generate("prime256v1")
          DurableStreams.transport = MemoryTransport.new { Sandbox.current.streams }
          clear
        end

        # Sends to the server again.
        def disable!
          DurableStreams.transport = nil
          DurableStreams.forget_streams
        end

        def enabled?
          DurableStreams.transport.is_a?(MemoryTransport)
        end

        # Sends to the server while the block runs, for system tests. Broadcast jobs
        # run inline, in all threads, and stream names get a prefix of this run, so that
        # all streams are empty. The assertions read from the server.
        #
        # Affects the whole process: do not use it in tests that run in parallel threads.
        def with_server(&block)
          was, prefix = enabled?, DurableStreams.config.stream_prefix
          run = "test-#{SecureRandom.hex(6)}"
          DurableStreams.config.stream_prefix = -> { [ run, prefix.respond_to?(:call) ? prefix.call : prefix ].compact }
          disable!
          defined?(::ActiveJob) ? JobsInPlace.everywhere(&block) : yield
        ensure
          DurableStreams.config.stream_prefix = prefix
          enable! if was
        end

        # The events broadcast to the stream of that name, by this test.
        def broadcasts(stream_name)
          enabled? ? DurableStreams.transport.events(stream_name) : DurableStreams.read_stream_named(stream_name).to_a
        end

        # Forgets what was captured.
        def clear
          if enabled?
            DurableStreams.transport.clear
            DurableStreams.forget_streams
          end
        end

        # Gives the test in this thread its own streams.
        def begin_test # :nodoc:
          Sandbox.start
        end

        def end_test # :nodoc:
          Sandbox.finish
        end

        # Runs this test's broadcast jobs inline.
        def performing_jobs(&block) # :nodoc:
          defined?(::ActiveJob) ? JobsInPlace.here(&block) : yield
        end
      end
    end
  end
end
