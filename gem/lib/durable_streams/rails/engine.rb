# frozen_string_literal: true

require "rails/engine"

begin
  # Records are named by their Global ID, also in apps without Active Job,
  # which is what else would load it.
  require "global_id/railtie"
rescue LoadError
  # Only rails apps without any record to name are without globalid.
end

module DurableStreams
  module Rails
    # Joins the gem to an app, one thing in each initializer.
    class Engine < ::Rails::Engine
      config.eager_load_namespaces << DurableStreams::Rails
      # The same object, so that it does not matter which of the two is set, and when.
      config.durable_streams = DurableStreams.config

      initializer "durable_streams.config" do |app|
        DurableStreams.config = app.config.durable_streams
      end

      initializer "durable_streams.broadcastable" do
        ActiveSupport.on_load(:active_record) { include DurableStreams::Rails::Broadcastable }
      end

      initializer "durable_streams.log_subscriber" do
        LogSubscriber.attach_to :durable_streams
      end

      # With the adapter :async a job ends with its process, and these end soon.
      runner { Engine.broadcast_in_place }
      console { Engine.broadcast_in_place }

      initializer "durable_streams.seeds" do |app|
        app.class.set_callback(:load_seed, :before) { Engine.broadcast_in_place }
      end

      initializer "durable_streams.test_helper" do
        ActiveSupport.on_load(:active_support_test_case) do
          # Never elsewhere, whoever loads the class there: it would swallow broadcasts.
          DurableStreams::Rails::Testing.enable! if ::Rails.env.test?
          include DurableStreams::Rails::Broadcastable::TestHelper
        end
      end

      # As Rails makes a secret_key_base in development: a colleague who clones the
      # app needs no step for it. Made when something is signed, not at boot.
      initializer "durable_streams.local_keys", after: :load_config_initializers do |app|
        if ::Rails.env.development? && DurableStreams.config.signing_key.blank? && KeyPair.local_server?(app.root)
          DurableStreams.config.signing_key = -> { KeyPair.local(app.root) }
        end
      end

      # The app's own initializers have set keys and addresses by now.
      initializer "durable_streams.connections", after: "durable_streams.local_keys" do
        DurableStreams.reset_connections
      end

      def self.broadcast_in_place # :nodoc:
        BroadcastJob.queue_adapter = :inline if defined?(::ActiveJob) && BroadcastJob.queue_adapter_name == "async"
      end
    end
  end
end
