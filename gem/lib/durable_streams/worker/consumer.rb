# frozen_string_literal: true

module DurableStreams
  class Worker
    # Claims a subscription whenever it is woken, and processes its events.
    class Consumer # :nodoc:
      attr_reader :id

      # +lease+ is in seconds.
      def initialize(id, lease:, worker:)
        @id, @lease, @worker = id, lease, worker
        @wakes = Queue.new
        @stopped = Queue.new # Closed by #stop.
        @backoff = Backoff.new
      end

      # Wakes during a delivery are one wake after it.
      def wake
        @wakes << :wake if @wakes.empty?
      end

      def stop
        @stopped.close
        @wakes << :stop
      end

      def run
        await_wake
        await_wake(consume) until stopping?
      end

      # Returns the seconds until the next attempt, or nil to wait for a wake.
      def consume
        again = ::Rails.application.reloader.wrap { claim_and_process }
        @backoff.reset
        0 if again
      rescue Error => error
        report(error) unless error.is_a?(ConnectionError) || error.is_a?(Fenced)
        ::Rails.logger&.warn("  DurableStreams #{error.message}")
        @backoff.next
      rescue *Rails::BroadcastFailure::RESCUED => error
        # The lease is not given back: the server repeats the wake when it has expired.
        report(error)
        nil
      end

      private
        # A longer pause ends with the next wake. Without a pause, a lost wake delays its
        # events by about a lease.
        def await_wake(pause = nil)
          @wakes.pop(timeout: pause || @lease * rand(1.0..1.5))
        end

        def stopping?
          @stopped.closed?
        end

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
          release(lease) if stopping? && !finished
        end

        # The lease outlives a restart of the server.
        def deliver(subscription, lease)
          Rails::Delivery.new(subscription, lease, stopping: -> { stopping? }).perform
        rescue ConnectionError => error
          ::Rails.logger&.warn("  DurableStreams #{error.message}")
          @stopped.pop(timeout: @backoff.next)
          raise Rails::Delivery::Stopped if stopping?
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
