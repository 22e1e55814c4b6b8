# frozen_string_literal: true

require "securerandom"

module DurableStreams
  module Rails
    # The identities under which a process appends. The server recognizes a repeated
    # append by them.
    #
    # The server expects a producer's appends to a stream in sequence, without gaps.
    # So each append borrows a producer, and concurrent appends to a stream use
    # different ones. A producer whose append failed is discarded, because its
    # sequence number may or may not have been used.
    class Producers
      # The values of the three producer headers of one append.
      Identity = Struct.new(:id, :epoch, :seq) do
        def self.from(hash)
          new(*hash.values_at("id", "epoch", "seq"))
        end

        def headers
          { "Producer-Id" => id, "Producer-Epoch" => epoch.to_s, "Producer-Seq" => seq.to_s }
        end

        # The form in which a job stores it.
        def to_h
          { "id" => id, "epoch" => epoch, "seq" => seq }
        end
      end

      # Streams whose producers are kept. Beyond that the least recently used are
      # dropped, which costs the server one more producer.
      MAX_STREAMS = 10_000

      def initialize(process_id: SecureRandom.alphanumeric(16))
        @process_id = process_id
        @counter = 0
        @idle = {}
        @mutex = Mutex.new
      end

      # Yields the identity for one append to the stream.
      def with(stream)
        identity = checkout(stream)
        yield(identity).tap { checkin(stream, identity) }
      end

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
