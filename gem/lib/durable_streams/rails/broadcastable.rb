# frozen_string_literal: true

require "active_support/concern"
require "active_support/isolated_execution_state"

# Streams a model's changes. Included in Active Record by the engine.
#
#   class Comment < ApplicationRecord
#     belongs_to :post
#     streams_to :post
#   end
#
# Every create, update and destroy is broadcast to the post's stream once it is
# committed, by a job, which sends the record as it is when the job runs. So a
# server that is away neither slows the request nor fails the save: the job is
# tried again. An app without Active Job sends at once, and reports as handled
# what could not be sent.
#
# What is sent of a record is +to_stream_value+:
#
#   class Comment < ApplicationRecord
#     def to_stream_value
#       as_json(only: %i[ id body ], include: { author: { only: :name } })
#     end
#   end
module DurableStreams::Rails::Broadcastable
  extend ActiveSupport::Concern

  autoload :TestHelper, "durable_streams/rails/broadcastable/test_helper"

  module ClassMethods
    # Broadcasts changes to the stream of an association, of a method's result,
    # or of what a proc returns:
    #
    #   streams_to :post
    #   streams_to ->(comment) { [ comment.post, :comments ] }
    def streams_to(stream)
      streams_changes { DurableStreams::Rails::Broadcastable.streamables_of(self, stream) }
    end

    # Broadcasts changes to the record's own stream, or to the given one:
    #
    #   streams
    #   streams "boards"
    def streams(*streamables)
      streams_changes { streamables.presence || [ self ] }
    end

    # Keeps records of this class from broadcasting while the block runs.
    def suppressing_streams
      before = DurableStreams::Rails::Broadcastable.suppressed_classes
      DurableStreams::Rails::Broadcastable.suppressed_classes = before + [ self ]
      yield
    ensure
      DurableStreams::Rails::Broadcastable.suppressed_classes = before
    end

    # Whether this class is kept from broadcasting.
    def suppressed_streams?
      DurableStreams::Rails::Broadcastable.suppressed_classes.any? { |suppressed| self <= suppressed }
    end

    private
      def streams_changes(&streamables)
        after_create_commit  -> { stream_change(:insert, instance_exec(&streamables)) }
        after_update_commit  -> { stream_change(:update, instance_exec(&streamables)) }
        after_destroy_commit -> { stream_change(:delete, instance_exec(&streamables)) }
      end
  end

  class << self
    def streamables_of(record, stream) # :nodoc:
      Array.wrap(stream.respond_to?(:call) ? stream.call(record) : record.send(stream))
    end

    def suppressed_classes # :nodoc:
      ActiveSupport::IsolatedExecutionState[:durable_streams_suppressed] || []
    end

    def suppressed_classes=(classes) # :nodoc:
      ActiveSupport::IsolatedExecutionState[:durable_streams_suppressed] = classes
    end
  end

  # Broadcasts that this record was created, and returns the txid.
  #
  #   txid = comment.stream_insert_to post
  #
  # ==== Options, here and in the methods like it
  #
  # * <tt>type:</tt> the entity's type, by default the model's name: "comment"
  # * <tt>key:</tt> the entity's key, by default the id
  # * <tt>value:</tt> what is sent, by default +to_stream_value+
  # * <tt>txid:</tt> the transaction id, by default a new one
  # * <tt>headers:</tt> more headers
  def stream_insert_to(*streamables, **options)
    stream_event_to(streamables, :insert, options)
  end

  # As stream_insert_to, to the record's own stream.
  def stream_insert(**options)
    stream_insert_to(self, **options)
  end

  # As stream_insert_to, from a job.
  def stream_insert_later_to(*streamables, **options)
    stream_event_later_to(streamables, :insert, options)
  end

  # As stream_insert_later_to, to the record's own stream.
  def stream_insert_later(**options)
    stream_insert_later_to(self, **options)
  end

  # Broadcasts that this record changed, and returns the txid.
  def stream_update_to(*streamables, **options)
    stream_event_to(streamables, :update, options)
  end

  # As stream_update_to, to the record's own stream.
  def stream_update(**options)
    stream_update_to(self, **options)
  end

  # As stream_update_to, from a job.
  def stream_update_later_to(*streamables, **options)
    stream_event_later_to(streamables, :update, options)
  end

  # As stream_update_later_to, to the record's own stream.
  def stream_update_later(**options)
    stream_update_later_to(self, **options)
  end

  # Broadcasts this record as created or changed, whichever it is for the
  # reader, and returns the txid.
  def stream_upsert_to(*streamables, **options)
    stream_event_to(streamables, :upsert, options)
  end

  # As stream_upsert_to, to the record's own stream.
  def stream_upsert(**options)
    stream_upsert_to(self, **options)
  end

  # As stream_upsert_to, from a job.
  def stream_upsert_later_to(*streamables, **options)
    stream_event_later_to(streamables, :upsert, options)
  end

  # As stream_upsert_later_to, to the record's own stream.
  def stream_upsert_later(**options)
    stream_upsert_later_to(self, **options)
  end

  # Broadcasts that this record is gone, and returns the txid. The event has
  # no value.
  def stream_delete_to(*streamables, **options)
    stream_event_to(streamables, :delete, options)
  end

  # As stream_delete_to, to the record's own stream.
  def stream_delete(**options)
    stream_delete_to(self, **options)
  end

  # As stream_delete_to, from a job, which does not need the record.
  def stream_delete_later_to(*streamables, **options)
    stream_event_later_to(streamables, :delete, options)
  end

  # As stream_delete_later_to, to the record's own stream.
  def stream_delete_later(**options)
    stream_delete_later_to(self, **options)
  end

  # What is sent of this record. Override it to send less, or more.
  def to_stream_value
    as_json
  end

  private
    def stream_change(operation, streamables)
      if defined?(::ActiveJob)
        stream_event_later_to(streamables, operation, {})
      else
        ::Rails.error.handle(DurableStreams::Error, source: "durable_streams") { stream_event_to(streamables, operation, {}) }
      end
    end

    def stream_event_to(streamables, operation, options)
      DurableStreams.broadcast_event_to(*streamables, **stream_event(operation), **options) unless self.class.suppressed_streams?
    end

    def stream_event_later_to(streamables, operation, options)
      DurableStreams.broadcast_event_later_to(*streamables, **stream_event(operation), **options) unless self.class.suppressed_streams?
    end

    def stream_event(operation)
      event = { type: model_name.singular, key: Array(id).join("_"), operation: operation }
      operation == :delete ? event : event.merge(value: self)
    end
end
