# frozen_string_literal: true

require "active_support"
require "active_support/rails"
require "active_support/core_ext/array/conversions"
require "active_support/core_ext/array/wrap"
require "active_support/core_ext/enumerable"
require "active_support/core_ext/numeric/time"
require "active_support/core_ext/object/json"
require "active_support/core_ext/object/to_param"
require "active_support/core_ext/string/filters"
require "active_support/core_ext/string/indent"
require "active_support/notifications"

require "durable_streams/rails/version"
require "durable_streams/rails/errors"

# The entry point: everything that an app says to its streams.
#
#   DurableStreams.broadcast_event_to room, :messages, type: "message", key: "1", value: { body: "Hello" }, operation: :insert
#   DurableStreams.signed_stream_url room, :messages
#   DurableStreams.close_stream room, :messages
#
# Models get a shorter way to the same, see DurableStreams::Rails::Broadcastable.
#
# Streams are named by _streamables_: records, strings and symbols, see
# DurableStreams::Rails::StreamName.
module DurableStreams
  # The parts of the gem.
  module Rails
    autoload :AfterCommitAdapter, "durable_streams/rails/after_commit_adapter"
    autoload :BroadcastFailure, "durable_streams/rails/broadcast_failure"
    autoload :BroadcastJob, "durable_streams/rails/broadcast_job"
    autoload :Broadcastable, "durable_streams/rails/broadcastable"
    autoload :Broadcasts, "durable_streams/rails/broadcasts"
    autoload :ChangeTracking, "durable_streams/rails/change_tracking"
    autoload :Checkup, "durable_streams/rails/checkup"
    autoload :CircuitBreaker, "durable_streams/rails/circuit_breaker"
    autoload :Configuration, "durable_streams/rails/configuration"
    autoload :Events, "durable_streams/rails/events"
    autoload :Feeds, "durable_streams/rails/feeds"
    autoload :Gatekeeper, "durable_streams/rails/gatekeeper"
    autoload :HttpTransport, "durable_streams/rails/http_transport"
    autoload :KeyPair, "durable_streams/rails/key_pair"
    autoload :LogSubscriber, "durable_streams/rails/log_subscriber"
    autoload :MemoryTransport, "durable_streams/rails/memory_transport"
    autoload :Producers, "durable_streams/rails/producers"
    autoload :RecordPublisher, "durable_streams/rails/record_publisher"
    autoload :RecordReference, "durable_streams/rails/record_reference"
    autoload :RecordValue, "durable_streams/rails/record_value"
    autoload :ServerBinary, "durable_streams/rails/server_binary"
    autoload :Settings, "durable_streams/rails/settings"
    autoload :SigningKey, "durable_streams/rails/signing_key"
    autoload :StateEvent, "durable_streams/rails/state_event"
    autoload :StreamDeclaration, "durable_streams/rails/stream_declaration"
    autoload :StreamDeletions, "durable_streams/rails/stream_deletions"
    autoload :StreamMetadata, "durable_streams/rails/stream_metadata"
    autoload :StreamName, "durable_streams/rails/stream_name"
    autoload :StreamProvisioner, "durable_streams/rails/stream_provisioner"
    autoload :Testing, "durable_streams/rails/testing"

    # What only tasks and tests use.
    NOT_EAGER = %i[ Checkup KeyPair ServerBinary Testing ].freeze # :nodoc:

    # Loads the rest at boot where the app eager loads, so that no thread meets
    # a half-loaded constant.
    def self.eager_load! # :nodoc:
      names = constants - NOT_EAGER
      names.delete(:BroadcastJob) unless defined?(::ActiveJob)
      names.each { |name| const_get(name) }
    end
  end

  extend Rails::StreamName
  extend Rails::StreamProvisioner
  extend Rails::Broadcasts
  extend Rails::Feeds
  extend Rails::Configuration
end

require "durable_streams/rails/engine"
