# frozen_string_literal: true

require "securerandom"

module DurableStreams
  module Rails
    # The identities under which a process appends, so that the server recognizes
    # an append that is sent twice.
    #
    # The server expects each producer's appends to a stream one after the other,
    # numbered without a gap. So a producer is lent to one append at a time, and
    # two threads that append to the same stream have two. A producer whose append
    # failed is never used again: whether its number was taken is unknown.
    class Producers
      # One append's identity: the values of the three headers.
      Identity = Struct.new(:id, :epoch, :seq) do
        def headers
          { "Producer-Id" => id, "Producer-Epoch" => epoch.to_s, "Producer-Seq" => seq.to_s }
        end

        # As a job keeps it.
        def to_h
          { "id" => id, "epoch" => epoch, "seq" => seq }
        end

        def self.from(hash)
          new(*hash.values_at("id", "epoch", "seq"))
        end
      end

      # For so many streams the producers are kept; beyond that the longest unused
      # are dropped, which costs the server one more producer and nothing else.
      MAX_STREAMS = 10_000

      def initialize(process_id: SecureRandom.alphanumeric(16))
        @process_id = process_id
        @counter = 0
        @idle = {}
        @mutex = Mutex.new
      end

      # Yields the identity for one append to the stream. When the block raises,
      # its producer is not used again.
      def with(stream)
        identity = checkout(stream)
        yield(identity).tap { checkin(stream, identity) }
      end

      # An identity that was never used.
      def fresh
        @mutex.synchronize { build }
      end

      private
        def checkout(stream)
          @mutex.synchronize { @idle[stream]&.pop || build }
        end

        def checkin(stream, identity)
          identity = Identity.new(identity.id, identity.epoch, identity.seq + 1)
          @mutex.synchronize do
            producers = @idle.delete(stream) || []
            @idle.shift if @idle.size >= MAX_STREAMS
            @idle[stream] = producers.push(identity)
          end
        end

        def build
          Identity.new("#{@process_id}-#{@counter += 1}", 0, 0)
        end
    end
  end
end
