# frozen_string_literal: true

module DurableStreams
  module Rails
    # The gem's version. The server of the same version is the one it installs.
    VERSION = "0.1.0"
  end
end
