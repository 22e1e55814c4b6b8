# frozen_string_literal: true

module DurableStreams
  module Rails
    # Stands in for the server during tests: keeps streams in memory and answers
    # as the server would.
    class MemoryTransport
      Stream = Struct.new(:events, :closed) # :nodoc:

      # The block returns the hash of streams, so that concurrent tests can have
      # their own.
      def initialize(&store)
        streams = {}
        @store = store || -> { streams }
        @mutex = Mutex.new
      end

      def briefly # :nodoc:
        yield self
      end

      def in_memory? # :nodoc:
        true
      end

      # The events that were appended to the stream, oldest first.
      def events(name)
        @mutex.synchronize { streams[name]&.events.to_a.dup }
      end

      # Forgets all streams.
      def clear
        @mutex.synchronize { streams.clear }
      end

      def create(name) # :nodoc:
        @mutex.synchronize { offset_of(streams[name] ||= Stream.new([], false)) }
      end

      # Creates the stream as it goes: a test that cleared the streams is not the
      # app's concern.
      def append(name, events, producer: nil) # :nodoc:
        @mutex.synchronize do
          stream = (streams[name] ||= Stream.new([], false))
          raise StreamClosed.new("#{name} is closed", status: 409, reason: "the stream is closed") if stream.closed
          stream.events.concat(JSON.parse(StateEvent.generate(events)))
          offset_of(stream)
        end
      end

      def close(name) # :nodoc:
        @mutex.synchronize do
          stream = (streams[name] ||= Stream.new([], false))
          stream.closed = true
          offset_of(stream)
        end
      end

      def delete(name) # :nodoc:
        @mutex.synchronize { !streams.delete(name).nil? }
      end

      def metadata(name) # :nodoc:
        @mutex.synchronize do
          if (stream = streams[name])
            StreamMetadata.new(content_type: "application/json", offset: offset_of(stream), closed: stream.closed)
          end
        end
      end

      def read(name, offset) # :nodoc:
        @mutex.synchronize do
          stream = streams[name] || raise(StreamNotFound.new("there is no stream #{name}", status: 404))
          from = { "-1" => 0, "now" => stream.events.size }.fetch(offset) { offset.to_i }
          HttpTransport::Page.new(stream.events.drop(from), offset_of(stream), stream.closed, true)
        end
      end

      private
        def streams
          @store.call
        end

        def offset_of(stream)
          format("%016d", stream.events.size)
        end
    end
  end
end
