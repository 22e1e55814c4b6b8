# frozen_string_literal: true

require "active_support"
require "active_support/rails"
require "active_support/core_ext/array/conversions"
require "active_support/core_ext/array/wrap"
require "active_support/core_ext/class/attribute"
require "active_support/core_ext/enumerable"
require "active_support/core_ext/module/attribute_accessors"
require "active_support/core_ext/numeric/time"
require "active_support/core_ext/object/json"
require "active_support/core_ext/object/to_param"
require "active_support/core_ext/string/filters"
require "active_support/core_ext/string/indent"
require "active_support/dependencies/autoload"
require "active_support/fork_tracker"
require "active_support/notifications"

require "durable_streams/rails/version"
require "durable_streams/rails/errors"

# The entry point for everything an app does with streams:
#
#   DurableStreams.broadcast_event_to room, :messages, type: "message", key: "1", value: { body: "Hello" }, operation: :insert
#   DurableStreams.signed_stream_url room, :messages
#   DurableStreams.close_stream room, :messages
#
# Streams are named by _streamables_ (records, strings and symbols), see
# DurableStreams::Rails::StreamName. Models broadcast through
# DurableStreams::Rails::Broadcastable.
module DurableStreams
  # The classes and modules of this gem.
  module Rails
    extend ActiveSupport::Autoload

    autoload :BroadcastJob
    autoload :DeliveryJob
    autoload :HealthCheck
    autoload :KeyPair
    autoload :ServerBinary
    autoload :Testing

    eager_autoload do
      autoload :AfterCommitAdapter
      autoload :BroadcastFailure
      autoload :Broadcastable
      autoload :Broadcasts
      autoload :ChangeTracking
      autoload :CircuitBreaker
      autoload :Outage
      autoload :Client
      autoload :Delivery
      autoload :Events
      autoload :HandlerTestHelper
      autoload :HttpTransport
      autoload :Lease
      autoload :LogSubscriber
      autoload :MemoryTransport
      autoload :MonotonicClock
      autoload :Producers
      autoload :RecordPublisher
      autoload :RecordReference
      autoload :RecordValue
      autoload :Settings
      autoload :SignedStreams
      autoload :SigningKey
      autoload :StateEvent
      autoload :StreamDeclaration
      autoload :StreamDeletions
      autoload :StreamMetadata
      autoload :StreamName
      autoload :StreamOperations
      autoload :StreamPage
      autoload :StreamPattern
      autoload :StreamProvisioner
      autoload :Subscription
      autoload :SubscriptionApi
      autoload :TokenSigner
      autoload :Wake
    end

    # The jobs cannot be loaded without Active Job.
    def self.eager_load! # :nodoc:
      super
      HttpTransport.eager_load!
      DurableStreams.eager_load!
      Webhook.eager_load!
      [ BroadcastJob, DeliveryJob ] if defined?(::ActiveJob)
    end
  end

  extend ActiveSupport::Autoload

  autoload :Worker

  eager_autoload do
    autoload :Handler
    autoload :Webhook
  end

  extend Rails::StreamName
  extend Rails::Broadcasts
  extend Rails::SignedStreams
  extend Rails::StreamOperations

  # <tt>config.durable_streams</tt>, see DurableStreams::Rails::Settings.
  mattr_accessor :config, default: Rails::Settings.new, instance_accessor: false

  mattr_accessor :client, default: Rails::Client.new(config), instance_accessor: false # :nodoc:

  class << self
    delegate :client_url=, to: :config
    delegate :transport, :token_signer, :provisioner, :webhook_keys, to: :client
    delegate :ensure_stream_exists, to: :provisioner

    # The address at which browsers reach the server.
    def client_url
      config.client_url || Rails::Settings::DEFAULT_URL
    end

    # The address at which this app reaches the server.
    def server_url
      config.server_url || Rails::Settings::DEFAULT_URL
    end

    def server_url=(url)
      config.server_url = url
      reset_connections
    end

    # The stream by which the server wakes workers.
    def wake_stream
      config.wake_stream || "#{::Rails.application.name}/wakes"
    end

    # Replaces what carries requests to the server; nil restores the default.
    def transport=(transport) # :nodoc:
      self.client = Rails::Client.new(config, transport: transport)
    end

    # Drops connections, tokens and the list of known streams. Called in forked
    # processes and when a setting changes.
    def reset_connections
      self.transport = client.in_memory? ? client.transport : nil
    end
  end

  ActiveSupport::ForkTracker.after_fork { reset_connections }
end

require "durable_streams/rails/engine"
