# frozen_string_literal: true

module DurableStreams
  module Rails
    # Replaces the server in tests: keeps streams in memory and responds as the
    # server does. Both transports pass the same tests.
    class MemoryTransport
      # The block returns the hash of streams, so that each test can have its own.
      def initialize(&store)
        streams = {}
        @store = store || -> { streams }
        @incarnations = 0
        @mutex = Mutex.new
      end

      # Returns the events appended to the stream, oldest first.
      def events(name)
        @mutex.synchronize { find(name)&.events.to_a.dup }
      end

      # Removes all streams.
      def clear
        @mutex.synchronize { streams.clear }
      end

      def briefly # :nodoc:
        yield self
      end

      def create(name, ttl: nil, retention_bytes: nil) # :nodoc:
        @mutex.synchronize { (find(name) || add(name, ttl)).tail }
      end

      def append(name, events, producer: nil) # :nodoc:
        events = JSON.parse(StateEvent.generate(events))
        @mutex.synchronize { existing(name).append(events, producer) }
      end

      def close(name) # :nodoc:
        @mutex.synchronize { existing(name).close }
      end

      def delete(name) # :nodoc:
        @mutex.synchronize { !!(find(name) && streams.delete(name)) }
      end

      def metadata(name) # :nodoc:
        @mutex.synchronize { find(name)&.metadata }
      end

      def read(name, offset) # :nodoc:
        @mutex.synchronize { existing(name).read(offset) }
      end

      def control(*) # :nodoc:
        raise ConfigurationError, "tests have no subscriptions: deliver events with deliver_stream_events, or use DurableStreams::Rails::Testing.with_server"
      end

      private
        def streams
          @store.call
        end

        def find(name)
          streams.delete(name) if streams[name]&.expired?
          streams[name]
        end

        def existing(name)
          find(name) || raise(StreamNotFound.new("the stream #{name} does not exist", status: 404, code: "not-found"))
        end

        def add(name, ttl)
          streams[name] = Stream.new(name, incarnation: @incarnations += 1, ttl: ttl)
        end

        # One life of a stream.
        class Stream # :nodoc:
          attr_reader :events

          def initialize(name, incarnation:, ttl: nil)
            @name, @incarnation, @ttl = name, incarnation, ttl
            @events, @sequences, @closed = [], {}, false
            touch
          end

          # The server's form: its last digit is unused.
          def tail
            format("%016d_%016d", @incarnation, @events.size * 10)
          end

          def append(events, producer)
            raise StreamClosed.new("the stream #{@name} is closed", status: 409, code: "closed") if @closed
            raise ResponseError.new("an append needs at least one event", status: 400, code: "bad-request") if events.empty?

            touch
            @events.concat(events) unless duplicate?(producer)
            tail
          end

          def close
            touch
            @closed = true
            tail
          end

          def read(offset)
            events = @events.drop(position(offset))
            touch
            StreamPage.new(events, tail, @closed, true, 0)
          end

          def metadata
            StreamMetadata.new(content_type: "application/json", offset: tail, closed: @closed, ttl: @ttl)
          end

          def expired?
            @ttl && Time.now >= @accessed_at + @ttl
          end

          private
            def touch
              @accessed_at = Time.now
            end

            # Records the identity of the append. A gap is no error here: the HTTP
            # transport then appends under a new identity.
            def duplicate?(producer)
              return false unless producer

              id, epoch, seq = producer.values_at("id", "epoch", "seq")
              last = @sequences[[ id, epoch ]]
              return true if last && seq <= last

              @sequences[[ id, epoch ]] = seq
              false
            end

            def position(offset)
              case offset
              when "-1" then 0
              when "now" then @events.size
              when /\A(\d{16})_(\d{16})\z/
                $1.to_i == @incarnation ? $2.to_i / 10 : raise(StreamGone.new("the offset #{offset} belongs to another stream than #{@name}", status: 410, code: "other-life"))
              else
                raise ResponseError.new("the offset #{offset.inspect} was not issued for #{@name}", status: 400, code: "bad-request")
              end
            end
        end
        private_constant :Stream
    end
  end
end
