# frozen_string_literal: true

require "active_job"

module DurableStreams
  module Rails
    # Processes the wake of a webhook.
    #
    # If the handler raises, the job is retried while its lease lasts. Then the server
    # delivers what was not acknowledged again, and a job of the earlier delivery that is
    # still enqueued does nothing.
    #
    # <tt>queue:</tt> of +subscribes_to+ or <tt>config.durable_streams.queue</tt> set its
    # queue. Configure anything else in an initializer:
    #
    #   ActiveSupport.on_load(:durable_streams_delivery_job) do
    #     queue_with_priority 10
    #   end
    class DeliveryJob < ActiveJob::Base
      ATTEMPTS = 3

      # The arguments contain a token.
      self.log_arguments = false

      # The server delivers again what the last attempt has left.
      retry_on StandardError, wait: ->(executions) { 2**executions }, attempts: ATTEMPTS do |job, error|
        ::Rails.error.report(error, handled: false, context: { subscription: job.arguments.first["subscription_id"] }, source: "durable_streams")
      end

      discard_on Fenced

      def perform(wake)
        subscription = Subscription.find(wake["subscription_id"])
        return if subscription.nil? # The handler has been removed from the app.

        wake = Wake.from_h(wake)
        lease = Lease.new(wake, action: "callback", duration: subscription.lease)
        lease.acknowledge # Ends here if the delivery is not current.
        Delivery.new(subscription, lease).perform
      ensure
        # A retry continues after what was acknowledged.
        arguments[0] = wake.to_h if wake.is_a?(Wake)
      end
    end
  end
end

ActiveSupport.run_load_hooks(:durable_streams_delivery_job, DurableStreams::Rails::DeliveryJob)
