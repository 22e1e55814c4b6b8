# frozen_string_literal: true

module DurableStreams
  module Rails
    # Broadcasts State Protocol events to streams. Extends DurableStreams.
    #
    # The synchronous methods send before they return, wherever they are called:
    # inside a database transaction readers may see the event before the row, and
    # see it although the transaction is rolled back. Call them after the commit,
    # or use the +later+ ones, which wait for it.
    module Broadcasts
      # Broadcasts one change and returns its txid, by which a client recognizes
      # its own optimistic update in the stream.
      #
      #   DurableStreams.broadcast_event_to room, :messages,
      #     type: "message", key: "1", value: { body: "Hello" }, operation: :insert
      #
      # ==== Options
      #
      # * <tt>type:</tt> the entity's type
      # * <tt>key:</tt> the entity's key within its type
      # * <tt>operation:</tt> <tt>:insert</tt>, <tt>:update</tt>, <tt>:upsert</tt> or <tt>:delete</tt>
      # * <tt>value:</tt> the entity, anything that can be JSON; something that
      #   answers to +to_stream_value+ is asked for it. Left out for deletes.
      # * <tt>txid:</tt> the transaction id; by default a new one
      # * <tt>headers:</tt> more headers for the event
      #
      # Sends nothing and returns nil when all streamables are blank. A single blank
      # part raises ArgumentError.
      def broadcast_event_to(*streamables, type:, key:, operation:, value: nil, txid: nil, headers: nil, producer: nil)
        if (streamables = present_streamables(streamables))
          event = { type: type, key: key, value: value, headers: event_headers(headers, operation, txid) }
          broadcast_to(*streamables, producer: producer, **event)
        end
      end

      # As broadcast_event_to, from a job: see DurableStreams::Rails::BroadcastJob.
      # Inside a database transaction the job is enqueued after the commit.
      #
      # A +value+ that is a record is loaded by the job, so what is sent is its
      # state at that time.
      def broadcast_event_later_to(*streamables, **event)
        build_broadcast_event_to(*streamables, **event)&.enqueue_and_report
      end

      # The job of broadcast_event_later_to, not yet enqueued. Many are best
      # enqueued at once, which also waits for the commit:
      #
      #   jobs = rooms.map { |room| DurableStreams.build_broadcast_event_to(room, **event) }
      #   ActiveJob.perform_all_later(jobs)
      def build_broadcast_event_to(*streamables, type:, key:, operation:, value: nil, txid: nil, headers: nil)
        if (streamables = present_streamables(streamables))
          require_active_job
          event = {
            type: StateEvent.identifier("type", type),
            key: StateEvent.identifier("key", key),
            operation: StateEvent.operation(operation),
            txid: (StateEvent.identifier("txid", txid) unless txid.blank?),
            headers: StateEvent.headers(headers).presence, **value_for_later(value)
          }
          BroadcastJob.new(stream_name_from(streamables), **event.compact)
        end
      end

      # Broadcasts an event of any form, for what is not a record: presence, typing.
      #
      #   DurableStreams.broadcast_to room, :presence,
      #     type: "presence", key: user.id.to_s, value: { name: user.name }, headers: { operation: "insert" }
      #
      # Returns the event's txid.
      def broadcast_to(*streamables, producer: nil, **event)
        if (streamables = present_streamables(streamables))
          deliver(stream_name_from(streamables), StateEvent.build(event), producer: producer)
        end
      end

      # Broadcasts to a stream by its complete name, for DurableStreams::Rails::BroadcastJob.
      def deliver_event(name, type:, key:, operation:, value: nil, txid: nil, headers: nil, **delivery) # :nodoc:
        event = { type: type, key: key, value: value, headers: event_headers(headers, operation, txid) }
        deliver(name, StateEvent.build(event), **delivery)
      end

      # As broadcast_event_to, with one short attempt and none while the circuit
      # breaker is open. For saves in apps without Active Job.
      def broadcast_event_briefly_to(*streamables, **event) # :nodoc:
        if (streamables = present_streamables(streamables))
          transport.briefly { |brief| deliver_event(stream_name_from(streamables), **event, through: brief) } ||
            raise(ConnectionError, "the Durable Streams server at #{server_url} failed a moment ago and is not asked again yet")
        end
      end

      private
        # Returns nil when all are blank.
        def present_streamables(streamables)
          streamables unless streamables.flatten.all?(&:blank?)
        end

        def event_headers(headers, operation, txid)
          StateEvent.headers(headers)
            .merge("operation" => StateEvent.operation(operation), "txid" => txid)
        end

        # The job loads records itself.
        def value_for_later(value)
          case value
          when RecordReference then { record: value.to_h }
          else
            if RecordReference.refers_to?(value)
              { record: RecordReference.to(value).to_h }
            else
              { value: RecordValue.json_of(value) }
            end
          end
        end

        # Returns the event's txid.
        def deliver(name, event, **delivery)
          payload = { stream: name, event: event }
          ActiveSupport::Notifications.instrument("broadcast.durable_streams", payload) do
            payload[:offset] = append_to_stream(name, [ event ], **delivery)
          rescue JSON::JSONError, EncodingError => error
            raise StateEvent.invalid(event, error)
          end
          event["headers"]["txid"]
        rescue StandardError => error
          BroadcastFailure.instrument(error, stream: name, event: event)
          raise
        end

        def require_active_job
          unless defined?(::ActiveJob)
            raise ConfigurationError,
              "broadcasting later needs Active Job: require \"active_job/railtie\" in config/application.rb, or use the method without _later"
          end
        end
    end
  end
end
