# frozen_string_literal: true

require "active_job"

# Sends the broadcasts of every +later+ method.
#
# It is tried again while the server cannot be reached, and then sends under
# the identity of the first try, so that an append whose answer was lost does
# not land twice. It is dropped when the record is gone: whoever destroyed it
# broadcast that.
class DurableStreams::Rails::BroadcastJob < ActiveJob::Base
  # How often a broadcast is tried before its error goes to the queue's own handling.
  ATTEMPTS = 12

  discard_on ActiveJob::DeserializationError

  retry_on DurableStreams::ConnectionError, DurableStreams::InsufficientStorage,
    wait: :polynomially_longer, attempts: ATTEMPTS

  # An event must not be seen before its row.
  if respond_to?(:enqueue_after_transaction_commit=)
    self.enqueue_after_transaction_commit = ::Rails::VERSION::MAJOR >= 8 ? true : :always
  end

  def perform(stream_name, **event)
    DurableStreams.broadcast_event_to(stream_name, **event, txid: event[:txid] || job_id, producer: @producer)
  rescue DurableStreams::ConnectionError => error
    @producer = error.producer || @producer
    raise
  end

  def serialize # :nodoc:
    @producer ? super.merge("durable_streams_producer" => @producer) : super
  end

  def deserialize(job_data) # :nodoc:
    super
    @producer = job_data["durable_streams_producer"]
  end
end
