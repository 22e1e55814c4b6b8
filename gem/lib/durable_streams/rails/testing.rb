# frozen_string_literal: true

require "openssl"
require "securerandom"

module DurableStreams
  module Rails
    # Captures broadcasts in memory instead of sending them. Only the transport is
    # replaced; callbacks, jobs and events are real.
    #
    # The engine enables this when ActiveSupport::TestCase is loaded. Other test
    # frameworks enable it themselves:
    #
    #   RSpec.configure do |config|
    #     config.before { DurableStreams::Rails::Testing.enable! }
    #   end
    module Testing
      extend ActiveSupport::Autoload

      autoload :InlineJobs
      autoload :Sandbox

      class << self
        # Starts to capture, with empty streams. Without a signing key, as on CI, URLs
        # are signed with a generated one.
        def enable!
          DurableStreams.config.signing_key ||= OpenSSL::PKey::EC.generate("prime256v1")
          DurableStreams.transport = MemoryTransport.new { Sandbox.current.streams }
          clear
        end

        def disable!
          DurableStreams.transport = nil
        end

        def enabled?
          DurableStreams.client.in_memory?
        end

        # Sends to the server while the block runs, for system tests. Broadcast jobs
        # run inline in all threads, and stream names get a random prefix, so that all
        # streams are empty. The assertions read from the server.
        #
        # This affects the whole process: do not use it in tests that run in parallel
        # threads.
        def with_server(&block)
          was_enabled, prefix = enabled?, DurableStreams.config.stream_prefix
          run = "test-#{SecureRandom.hex(6)}"
          DurableStreams.config.stream_prefix = -> { [ run, prefix.respond_to?(:call) ? prefix.call : prefix ].compact }
          disable!
          defined?(::ActiveJob) ? InlineJobs.in_all_threads(&block) : yield
        ensure
          DurableStreams.config.stream_prefix = prefix
          enable! if was_enabled
        end

        # Returns the events that this test broadcast to the stream of that name.
        def broadcasts(stream_name)
          enabled? ? DurableStreams.transport.events(stream_name) : DurableStreams.read_stream_named(stream_name).to_a
        end

        def clear
          DurableStreams.transport.clear if enabled?
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
          defined?(::ActiveJob) ? InlineJobs.in_this_test(&block) : yield
        end
      end
    end
  end
end
