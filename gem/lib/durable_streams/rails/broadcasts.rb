# frozen_string_literal: true

require "securerandom"

# Broadcasts State Protocol events to streams. Extends DurableStreams.
#
# The synchronous methods send before they return, wherever they are called:
# inside a database transaction readers may see the event before the row, and
# see it although the transaction is rolled back. Call them after the commit,
# or use the +later+ ones, which wait for it.
module DurableStreams::Rails::Broadcasts
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
  # Nothing is sent, and nil returned, when the streamables are all blank.
  def broadcast_event_to(*streamables, type:, key:, operation:, value: nil, txid: nil, headers: {}, producer: nil)
    if (streamables = present_streamables(streamables))
      broadcast_to(*streamables, type: type, key: key, value: value, producer: producer,
        headers: headers.merge(operation: operation, txid: txid || SecureRandom.uuid))
    end
  end

  # As broadcast_event_to, from a job: see DurableStreams::Rails::BroadcastJob.
  # Inside a database transaction the job is enqueued after the commit.
  #
  # A +value+ that is a record is loaded by the job, so what is sent is its
  # state at that time.
  def broadcast_event_later_to(*streamables, **event)
    build_broadcast_event_to(*streamables, **event)&.enqueue
  end

  # The job of broadcast_event_later_to, not yet enqueued. Many are best
  # enqueued at once:
  #
  #   jobs = rooms.map { |room| DurableStreams.build_broadcast_event_to(room, **event) }
  #   ActiveJob.perform_all_later(jobs)
  def build_broadcast_event_to(*streamables, **event)
    if (streamables = present_streamables(streamables))
      require_active_job
      event[:value] = event[:value].as_json unless event[:value].respond_to?(:to_stream_value)
      DurableStreams::Rails::BroadcastJob.new(stream_name_from(streamables), **event.compact)
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
      event = normalize_event(event)
      deliver(stream_name_from(streamables), event, producer)
      event["headers"]["txid"]
    end
  end

  private
    def present_streamables(streamables)
      streamables.flatten.compact_blank.presence
    end

    def normalize_event(event)
      value = event[:value]
      value = value.to_stream_value if value.respond_to?(:to_stream_value)
      headers = event.fetch(:headers, {}).to_h.transform_keys(&:to_s)
      headers["operation"] = headers["operation"].to_s if headers.key?("operation")
      headers["txid"] ||= SecureRandom.uuid

      event = event.transform_keys(&:to_s)
      event["value"] = value.as_json
      event.delete("value") if value.nil? && headers["operation"] == "delete"
      event["key"] = event["key"].to_s if event.key?("key")
      event["type"] = event["type"].to_s if event.key?("type")
      event["headers"] = headers.as_json
      event
    end

    def deliver(name, event, producer)
      payload = { stream: name, event: event }
      ActiveSupport::Notifications.instrument("broadcast.durable_streams", payload) do
        payload[:offset] = append_to_stream(name, [ event ], producer: producer)
      end
    rescue DurableStreams::Error => error
      ActiveSupport::Notifications.instrument("broadcast_failed.durable_streams", **payload, exception_object: error)
      raise
    end

    def require_active_job
      unless defined?(::ActiveJob)
        raise DurableStreams::ConfigurationError,
          "broadcasting later needs Active Job: require \"active_job/railtie\" in config/application.rb, or use the method without _later"
      end
    end
end
