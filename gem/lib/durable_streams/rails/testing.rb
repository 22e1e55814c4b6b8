# frozen_string_literal: true

require "openssl"

# Captures broadcasts in memory instead of sending them, at the transport: all
# above it, from callbacks and jobs to the form of an event, is the real thing.
#
# The engine turns it on when ActiveSupport::TestCase is loaded. Under another
# test framework turn it on by hand:
#
#   RSpec.configure do |config|
#     config.before { DurableStreams::Rails::Testing.enable! }
#   end
module DurableStreams::Rails::Testing
  class << self
    # Captures from now on, beginning with nothing. Where the app has no
    # signing key, as on CI, URLs are signed with one made up for the process.
    def enable!
      DurableStreams.config.signing_key ||= OpenSSL::PKey::EC.generate("prime256v1")
      DurableStreams.transport = DurableStreams::Rails::MemoryTransport.new
      DurableStreams.forget_streams
    end

    # Sends to the server again.
    def disable!
      DurableStreams.transport = nil
      DurableStreams.forget_streams
    end

    def enabled?
      DurableStreams.transport.is_a?(DurableStreams::Rails::MemoryTransport)
    end

    # Sends to the server while the block runs, for system tests.
    def with_server
      was = enabled?
      disable!
      yield
    ensure
      enable! if was
    end

    # The events captured for the stream of that name.
    def broadcasts(stream_name)
      enabled? ? DurableStreams.transport.events(stream_name) : []
    end

    # Forgets what was captured.
    def clear
      if enabled?
        DurableStreams.transport.clear
        DurableStreams.forget_streams
      end
    end
  end
end
