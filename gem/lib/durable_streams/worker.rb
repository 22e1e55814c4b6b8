# frozen_string_literal: true

require "socket"

module DurableStreams
  # Fetches the events of handlers that subscribe <tt>via: :worker</tt>.
  #
  # <tt>bin/rails durable_streams:work</tt> runs one until SIGTERM. Several workers may
  # run, on any number of machines: one at a time holds a subscription, and another one
  # takes over when its lease ends.
  #
  # Each handler has a thread, so that a slow one does not hold up the others. The
  # database pool needs as many connections.
  class Worker
    extend ActiveSupport::Autoload

    autoload :Consumer
    autoload :Backoff
    autoload :WakeStream

    # Seconds that handlers may take to finish when the worker stops.
    SHUTDOWN_TIMEOUT = 25

    attr_reader :name

    def initialize(subscriptions = self.class.subscriptions, name: "#{Socket.gethostname}-#{Process.pid}", shutdown_timeout: SHUTDOWN_TIMEOUT)
      @subscriptions, @name, @shutdown_timeout = subscriptions, name.first(64), shutdown_timeout
      @consumers = subscriptions.to_h { |subscription| [ subscription.id, Consumer.new(subscription.id, lease: subscription.lease, worker: @name) ] }
      @stop = Queue.new
    end

    # The subscriptions that workers process.
    def self.subscriptions
      Rails::Subscription.all.reject(&:webhook?)
    end

    # Runs until #stop. Raises DurableStreams::SubscriptionConflict if a subscription
    # exists with another configuration.
    def run
      return unless synchronize

      consumers = @consumers.each_value.map { |consumer| thread(consumer.id) { consumer.run } }
      follower = thread("wakes") { follow }
      error = @stop.pop
      follower.kill
      stop_consumers(consumers)
      raise error if error.is_a?(Exception)
    end

    # Stops the worker: handlers finish their batches, and claims are given back. May be
    # called in a signal handler.
    def stop
      @stop << :stop
    end

    private
      # An error that a thread does not expect ends the worker, so that whoever runs it
      # starts another one.
      def thread(name)
        thread = Thread.new do
          yield
        rescue Exception => error
          @stop << error
        end
        thread.tap { thread.name = "durable_streams #{name}" }
      end

      # Creates the subscriptions, and waits for a server that is not up yet. Returns
      # false if the worker has been stopped meanwhile.
      def synchronize
        backoff = Backoff.new
        begin
          @subscriptions.each(&:sync)
          true
        rescue ConnectionError => error
          ::Rails.logger&.warn("  DurableStreams #{error.message}")
          @stop.pop(timeout: backoff.next) ? false : retry
        end
      end

      def follow
        WakeStream.new(DurableStreams.wake_stream).each do |id|
          id == :all ? @consumers.each_value(&:wake) : @consumers[id]&.wake
        end
      end

      def stop_consumers(threads)
        @consumers.each_value(&:stop)
        deadline = Rails::MonotonicClock.now + @shutdown_timeout
        late = threads.reject { |thread| thread.join([ deadline - Rails::MonotonicClock.now, 0 ].max) }
        late.each(&:kill).each(&:join)
      end
  end
end
