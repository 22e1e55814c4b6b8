# frozen_string_literal: true

require "test_helper"

# The HTTP transport against the real server passes the tests of the one in memory.
class HttpTransportContractTest < RealServerTestCase
  include TransportContract

  setup { start_server storage: {} }

  private
    def transport
      DurableStreams.transport
    end
end
