# frozen_string_literal: true

require "rails/engine"

begin
  # Names records. Without Active Job, nothing else loads it.
  require "global_id/railtie"
rescue LoadError
  # An app without globalid has no records to name.
end

module DurableStreams
  module Rails
    class Engine < ::Rails::Engine
      config.eager_load_namespaces << DurableStreams::Rails
      config.durable_streams = DurableStreams.config

      initializer "durable_streams.config" do |app|
        DurableStreams.config = app.config.durable_streams
        DurableStreams.reset_connections
      end

      initializer "durable_streams.broadcastable" do
        ActiveSupport.on_load(:active_record) { include Broadcastable }
      end

      initializer "durable_streams.log_subscriber" do
        LogSubscriber.attach_to :durable_streams
      end

      # So that mount DurableStreams::Engine => "/durable_streams" can be written in
      # config/routes.rb.
      ::DurableStreams::Engine = self

      # The :async adapter loses its jobs when these processes exit.
      runner { Engine.broadcast_inline }
      console { Engine.broadcast_inline }

      initializer "durable_streams.seeds" do |app|
        app.class.set_callback(:load_seed, :before) { Engine.broadcast_inline }
      end

      initializer "durable_streams.test_helper" do
        ActiveSupport.on_load(:active_support_test_case) do
          # Elsewhere it would swallow broadcasts.
          Testing.enable! if ::Rails.env.test?
          include Broadcastable::TestHelper, HandlerTestHelper
        end
      end

      # Like secret_key_base, the key of a development machine is generated on first
      # use, so that cloning the app is enough.
      initializer "durable_streams.local_keys", after: :load_config_initializers do |app|
        if ::Rails.env.development? && DurableStreams.config.signing_key.blank? && KeyPair.local_server?(app.root)
          DurableStreams.config.signing_key = -> { KeyPair.local(app.root) }
        end
      end

      # The app's initializers have set keys and addresses.
      initializer "durable_streams.connections", after: "durable_streams.local_keys" do
        DurableStreams.reset_connections
      end

      def self.broadcast_inline # :nodoc:
        BroadcastJob.queue_adapter = :inline if defined?(::ActiveJob) && BroadcastJob.queue_adapter_name == "async"
      end
    end
  end
end
