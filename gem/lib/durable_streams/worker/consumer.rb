# frozen_string_literal: true

module DurableStreams
  class Worker
    # Claims a subscription whenever it is woken, and processes its events.
    class Consumer # :nodoc:
      attr_reader :id

      def initialize(id, worker:)
        @id, @worker = id, worker
        @signals = Queue.new
        @backoff = Backoff.new
        @stopping = false
      end

      # Wakes during a delivery are one wake after it.
      def wake
        @signals << :wake if @signals.empty?
      end

      def stop
        @stopping = true
        @signals << :stop
      end

      def run
        @signals.pop
        until @stopping
          pause = consume
          # A longer pause ends with the next wake.
          @signals.pop(timeout: pause)
        end
      end

      # Returns the seconds until the next attempt, or nil to wait for a wake.
      def consume
        again = ::Rails.application.reloader.wrap { claim_and_process }
        @backoff.reset
        0 if again
      rescue Fenced => error
        ::Rails.logger&.warn("  DurableStreams #{error.message}")
        nil
      rescue Error => error
        report(error) unless error.is_a?(ConnectionError)
        ::Rails.logger&.warn("  DurableStreams #{error.message}")
        @backoff.next
      rescue *Rails::BroadcastFailure::RESCUED => error
        # The lease is not given back: the server repeats the wake when it has expired.
        report(error)
        nil
      end

      private
        def claim_and_process
          subscription = Rails::Subscription.find(id) || raise(ConfigurationError, "no handler has the subscription #{id} any longer")
          wake = api.claim(id, worker: @worker) || return
          process(subscription, Rails::Lease.new(wake, action: "ack", duration: subscription.lease, api: api))
        end

        # A lease that is not given back in a stop would delay the next worker.
        def process(subscription, lease)
          finished = false
          deliver(subscription, lease).tap { finished = true }
        rescue Rails::Delivery::Stopped
          nil
        ensure
          release(lease) if @stopping && !finished
        end

        # The lease outlives a restart of the server.
        def deliver(subscription, lease)
          Rails::Delivery.new(subscription, lease, stopping: -> { @stopping }).perform
        rescue ConnectionError => error
          ::Rails.logger&.warn("  DurableStreams #{error.message}")
          @signals.pop(timeout: @backoff.next)
          raise Rails::Delivery::Stopped if @stopping
          lease.verify
          retry
        end

        def release(lease)
          lease.release
        rescue Error => error
          ::Rails.logger&.warn("  DurableStreams #{error.message}")
        end

        def api
          Rails::SubscriptionApi.new
        end

        def report(error)
          ::Rails.error.report(error, handled: true, context: { subscription: id }, source: "durable_streams")
        end
    end
  end
end
