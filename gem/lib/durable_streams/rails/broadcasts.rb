# frozen_string_literal: true

module DurableStreams
  module Rails
    # Broadcasts State Protocol events to streams. Extends DurableStreams.
    #
    # The synchronous methods send immediately. Inside a database transaction,
    # readers may see the event before the row, and even if the transaction is
    # rolled back. Call them after the commit, or use the +later+ methods, which
    # wait for it.
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
      # * <tt>value:</tt> the entity: anything that can be encoded as JSON. Objects
      #   with a +to_stream_value+ are sent as that. Omitted for deletes.
      # * <tt>txid:</tt> the transaction id; a new one by default
      # * <tt>headers:</tt> further headers of the event
      #
      # Returns nil without sending when all streamables are blank. A single blank
      # part raises ArgumentError.
      def broadcast_event_to(*streamables, type:, key:, operation:, value: nil, txid: nil, headers: nil, producer: nil)
        if (streamables = present_streamables(streamables))
          event = { type: type, key: key, value: value, headers: event_headers(headers, operation, txid) }
          broadcast_to(*streamables, producer: producer, **event)
        end
      end

      # Like broadcast_event_to, but from a DurableStreams::Rails::BroadcastJob.
      # Inside a database transaction the job is enqueued after the commit.
      #
      # A record as +value+ is loaded by the job, which sends its state at that time.
      def broadcast_event_later_to(*streamables, **event)
        build_broadcast_event_to(*streamables, **event)&.enqueue_and_report
      end

      # Builds the job of broadcast_event_later_to without enqueuing it. Enqueue
      # many jobs at once, which also waits for the commit:
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

      # Broadcasts an event of any form and returns its txid. For things that are
      # not records, such as presence or typing indicators:
      #
      #   DurableStreams.broadcast_to room, :presence,
      #     type: "presence", key: user.id.to_s, value: { name: user.name }, headers: { operation: "insert" }
      def broadcast_to(*streamables, producer: nil, **event)
        if (streamables = present_streamables(streamables))
          deliver(stream_name_from(streamables), StateEvent.build(event), producer: producer)
        end
      end

      # Broadcasts to the stream with exactly this name.
      def deliver_event(name, type:, key:, operation:, value: nil, txid: nil, headers: nil, **delivery) # :nodoc:
        event = { type: type, key: key, value: value, headers: event_headers(headers, operation, txid) }
        deliver(name, StateEvent.build(event), **delivery)
      end

      # Like broadcast_event_to, but with one short attempt, and none while the
      # circuit breaker is open. For saves in apps without Active Job.
      def broadcast_event_briefly_to(*streamables, **event) # :nodoc:
        if (streamables = present_streamables(streamables))
          transport.briefly { |brief| deliver_event(stream_name_from(streamables), **event, through: brief) } ||
            raise(ConnectionError, "the Durable Streams server at #{server_url} has just failed; it is not tried again for up to #{config.page_retry_interval} s")
        end
      end

      private
        # Returns nil when all are blank.
        def present_streamables(streamables)
          streamables unless streamables.flatten.all?(&:blank?)
        end

        def event_headers(headers, operation, txid)
          StateEvent.headers(headers).merge("operation" => StateEvent.operation(operation), "txid" => txid)
        end

        # Records are loaded by the job.
        def value_for_later(value)
          if value.is_a?(RecordReference)
            { record: value.to_h }
          elsif RecordReference.refers_to?(value)
            { record: RecordReference.to(value).to_h }
          else
            { value: RecordValue.json_of(value) }
          end
        end

        # Returns the event's txid.
        def deliver(name, event, **delivery)
          payload = { stream: name, event: event }
          ActiveSupport::Notifications.instrument("broadcast.durable_streams", payload) do
            payload[:offset] = provisioner.append_to_stream(name, [ event ], **delivery)
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
