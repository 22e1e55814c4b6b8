# frozen_string_literal: true

module DurableStreams
  module Rails
    # The right to process a wake. While #keep runs its block, a thread extends the
    # lease and acknowledges what was processed.
    #
    # Raises DurableStreams::Fenced when the lease has passed to somebody else.
    class Lease # :nodoc:
      # Acknowledgements of one request.
      MAX_ACKS = 500

      # The lease is extended in this part of its duration.
      HEARTBEATS = 3.0

      # Statuses by which the server refuses an acknowledgement for its content.
      REFUSALS = [ 400, 409, 410, 422 ].freeze

      attr_reader :wake

      # +action+ is callback or ack, see SubscriptionApi. +duration+ is in seconds.
      def initialize(wake, action:, duration:, api: SubscriptionApi.new)
        @wake, @action, @duration, @api = wake, action, duration.to_f, api
        @streams = wake.streams.index_by(&:path)
        @processed = {}
        @lock, @sending = Mutex.new, Monitor.new
        @fenced = nil
        @renewed_at = MonotonicClock.now
      end

      # Extends the lease until the block ends.
      def keep
        finished = Queue.new
        thread = Thread.new { heartbeat until @fenced || finished.pop(timeout: @duration / HEARTBEATS) }
        thread.name = "durable_streams lease"
        yield
      ensure
        finished << true
        thread&.join
      end

      # Raises unless this process still holds the lease.
      def verify
        raise @fenced if @fenced

        if MonotonicClock.now - @renewed_at > @duration
          raise Fenced, "the lease of #{wake.subscription_id}, generation #{wake.generation}, could not be extended for #{@duration.round} s"
        end
      end

      # Notes that all events of the stream up to +offset+ have been processed.
      def processed(stream, offset)
        acknowledge if @lock.synchronize { @processed[stream.path] = offset; @processed.size } >= MAX_ACKS
      end

      # Acknowledges what was processed, and extends the lease.
      def acknowledge
        @sending.synchronize do
          acks = unacknowledged
          acks.empty? ? send_acks({}) : acks.each_slice(MAX_ACKS) { |slice| send_slice(slice.to_h) }
        end
      end

      # Acknowledges the rest and ends the lease. Returns whether another wake follows.
      def done
        @sending.synchronize do
          acknowledge if unacknowledged.size > MAX_ACKS
          acks = unacknowledged
          begin
            send_acks(acks, done: true).tap { settle(acks) }
          rescue ResponseError => error
            raise unless REFUSALS.include?(error.status) && acks.any?
            acknowledge
            send_acks({}, done: true)
          end
        end
      end

      # Gives a claim back, with what was processed acknowledged.
      def release
        acknowledge if unacknowledged.any?
        @api.release(wake)
      end

      private
        # A failed heartbeat is followed by another, as long as the lease lasts.
        def heartbeat
          acknowledge
        rescue Fenced => error
          @fenced = error
        rescue Error => error
          ::Rails.logger&.warn("  DurableStreams #{error.message}")
        end

        def unacknowledged
          @lock.synchronize { @processed.dup }
        end

        # One stream whose offset is refused, such as one that was deleted, must not hold
        # up the others.
        def send_slice(acks)
          send_acks(acks)
          settle(acks)
        rescue ResponseError => error
          raise unless REFUSALS.include?(error.status)

          if acks.one?
            ::Rails.error.report(error, handled: true, context: { stream: acks.keys.first }, source: "durable_streams")
            settle(acks)
          else
            acks.each { |path, offset| send_slice({ path => offset }) }
          end
        end

        def send_acks(acks, done: false)
          sent_at = MonotonicClock.now
          @api.acknowledge(wake, @action, acks, done: done).tap { @renewed_at = sent_at }
        end

        # A job that is retried continues from here.
        def settle(acks)
          @lock.synchronize do
            acks.each do |path, offset|
              @streams.fetch(path).acked_offset = offset
              @processed.delete(path) if @processed[path] == offset
            end
          end
        end
    end
  end
end
