# frozen_string_literal: true

require "active_support/concern"
require "active_support/isolated_execution_state"

module DurableStreams
  module Rails
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
    # A record is sent as its +to_stream_value+, by default its attributes without
    # the secret ones:
    #
    #   class Comment < ApplicationRecord
    #     def to_stream_value
    #       as_json(only: %i[ id body ], include: { author: { only: :name } })
    #     end
    #   end
    module Broadcastable
      extend ActiveSupport::Concern

      autoload :TestHelper, "durable_streams/rails/broadcastable/test_helper"

      module ClassMethods
        # Broadcasts changes to the stream of an association, of a method's result,
        # or of what a proc returns; with several, to each:
        #
        #   streams_to :post
        #   streams_to :post, :author
        #   streams_to ->(comment) { [ comment.post, :comments ] }
        #
        # ==== Options
        #
        # * <tt>on:</tt> <tt>:create</tt>, <tt>:update</tt>, <tt>:destroy</tt> or several of them; all by default
        # * <tt>if:</tt>, <tt>unless:</tt> a method or a proc, asked after the commit
        # * <tt>type:</tt> the entity's type, by default the model's name
        # * <tt>only:</tt>, <tt>except:</tt> the attributes that are sent; where the
        #   model has a +to_stream_value+, the keys of what it returns
        def streams_to(*targets, **options)
          unless targets.any? && targets.all? { |target| target.is_a?(Symbol) || target.respond_to?(:call) }
            raise ArgumentError, "streams_to takes associations, methods and procs, not #{targets.inspect}. A stream by its name: streams \"boards\""
          end

          _durable_streams_declare(targets, options)
        end

        # Broadcasts changes to the record's own stream, to the given one, or to the
        # one of a proc. Takes the options of streams_to.
        #
        #   streams
        #   streams "boards"
        #   streams ->(note) { [ note.account, :notes ] }
        def streams(*streamables, **options)
          if streamables.one? && streamables.first.respond_to?(:call)
            _durable_streams_declare(streamables, options)
          elsif streamables.any? { |streamable| streamable.respond_to?(:call) }
            raise ArgumentError, "streams takes one proc, or the parts of a name"
          else
            DurableStreams.send(:verify_stream_name, DurableStreams.send(:join_streamables, streamables)) unless streamables.empty?
            _durable_streams_declare([ streamables ], options)
          end
        end

        # Keeps records of this class from broadcasting changes made inside the block,
        # even when their transaction commits after it. Holds for the current thread and
        # its fibers, or where <tt>config.active_support.isolation_level</tt> is
        # <tt>:fiber</tt>, for the current fiber.
        def suppressing_streams
          before = Broadcastable.suppressed_classes
          Broadcastable.suppressed_classes = before + [ self ]
          yield
        ensure
          Broadcastable.suppressed_classes = before
        end

        # Whether this class is kept from broadcasting.
        def suppressed_streams?
          Broadcastable.suppressed_classes.any? { |suppressed| self <= suppressed }
        end

        private
          def _durable_streams_declare(targets, options)
            # In the whole STI hierarchy: a row of another class may become one of this class.
            base_class.include ChangeTracking
            self._durable_streams_declarations += [ StreamDeclaration.new(targets, **options) ]
          end
      end

      class << self
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
      # * <tt>only:</tt>, <tt>except:</tt> the attributes that are sent
      # * <tt>txid:</tt> the transaction id, by default a new one
      # * <tt>headers:</tt> more headers
      def stream_insert_to(*streamables, **options)
        RecordPublisher.new(self).broadcast(:insert, streamables, options)
      end

      # As stream_insert_to, to the record's own stream.
      def stream_insert(**options)
        stream_insert_to(self, **options)
      end

      # As stream_insert_to, from a job.
      def stream_insert_later_to(*streamables, **options)
        RecordPublisher.new(self).broadcast_later(:insert, streamables, options)
      end

      # As stream_insert_later_to, to the record's own stream.
      def stream_insert_later(**options)
        stream_insert_later_to(self, **options)
      end

      # Broadcasts that this record changed, and returns the txid.
      def stream_update_to(*streamables, **options)
        RecordPublisher.new(self).broadcast(:update, streamables, options)
      end

      # As stream_update_to, to the record's own stream.
      def stream_update(**options)
        stream_update_to(self, **options)
      end

      # As stream_update_to, from a job.
      def stream_update_later_to(*streamables, **options)
        RecordPublisher.new(self).broadcast_later(:update, streamables, options)
      end

      # As stream_update_later_to, to the record's own stream.
      def stream_update_later(**options)
        stream_update_later_to(self, **options)
      end

      # Broadcasts this record as created or changed, whichever it is for the
      # reader, and returns the txid.
      def stream_upsert_to(*streamables, **options)
        RecordPublisher.new(self).broadcast(:upsert, streamables, options)
      end

      # As stream_upsert_to, to the record's own stream.
      def stream_upsert(**options)
        stream_upsert_to(self, **options)
      end

      # As stream_upsert_to, from a job.
      def stream_upsert_later_to(*streamables, **options)
        RecordPublisher.new(self).broadcast_later(:upsert, streamables, options)
      end

      # As stream_upsert_later_to, to the record's own stream.
      def stream_upsert_later(**options)
        stream_upsert_later_to(self, **options)
      end

      # Broadcasts that this record is gone, and returns the txid. The event has
      # no value.
      def stream_delete_to(*streamables, **options)
        RecordPublisher.new(self).broadcast(:delete, streamables, options)
      end

      # As stream_delete_to, to the record's own stream.
      def stream_delete(**options)
        stream_delete_to(self, **options)
      end

      # As stream_delete_to, from a job, which does not need the record.
      def stream_delete_later_to(*streamables, **options)
        RecordPublisher.new(self).broadcast_later(:delete, streamables, options)
      end

      # As stream_delete_later_to, to the record's own stream.
      def stream_delete_later(**options)
        stream_delete_later_to(self, **options)
      end

      # The value of this record's events. Override it to send less, or more; it may
      # be private. The default is +as_json+ without encrypted, binary and secret
      # attributes, see DurableStreams::Rails::RecordValue.
      def to_stream_value
        as_json(except: RecordValue.withheld_attributes(self))
      end

      # The txid of the last automatic broadcast of this record's changes, or nil. A
      # client that made the change waits for it in the stream.
      #
      #   comment.update!(comment_params)
      #   render json: { txid: comment.stream_txid }
      def stream_txid
        @_durable_streams_txid
      end
    end
  end
end
