# frozen_string_literal: true

require "active_support/concern"
require "active_support/isolated_execution_state"

module DurableStreams
  module Rails
    # Broadcasts a model's changes. Included in Active Record by the engine.
    #
    #   class Comment < ApplicationRecord
    #     belongs_to :post
    #     streams_to :post
    #   end
    #
    # Every create, update and destroy is broadcast to the post's stream after the
    # commit, by a job that sends the record's state at that time and is retried. An
    # unavailable server neither slows nor fails a save. Without Active Job, events
    # are sent immediately and failures are reported as handled.
    #
    # A record is sent as its +to_stream_value+, by default its attributes without
    # the secret ones:
    #
    #   class Comment < ApplicationRecord
    #     def to_stream_value
    #       as_json(only: %i[ id body ], include: { author: { only: :name } })
    #     end
    #   end
    #
    # == Broadcasting by hand
    #
    # The methods without +later+ send immediately and return the event's txid.
    # Those with +later+ enqueue a DurableStreams::Rails::BroadcastJob, after the
    # commit of an open transaction. Those without +_to+ broadcast to the record's
    # own stream. All take these options:
    #
    # * <tt>type:</tt> the entity's type, by default the model's name: "comment"
    # * <tt>key:</tt> the entity's key, by default the id
    # * <tt>value:</tt> the entity, by default +to_stream_value+; deletes have none
    # * <tt>only:</tt>, <tt>except:</tt> the attributes to send or to leave out
    # * <tt>txid:</tt> the transaction id, by default a new one
    # * <tt>headers:</tt> further headers of the event
    module Broadcastable
      extend ActiveSupport::Concern
      extend ActiveSupport::Autoload

      autoload :TestHelper

      module ClassMethods
        # Broadcasts changes to the stream of an association or of the result of a
        # method or a proc; with several targets, to each of them:
        #
        #   streams_to :post
        #   streams_to :post, :author
        #   streams_to ->(comment) { [ comment.post, :comments ] }
        #
        # ==== Options
        #
        # * <tt>on:</tt> <tt>:create</tt>, <tt>:update</tt>, <tt>:destroy</tt> or several of them; all by default
        # * <tt>if:</tt>, <tt>unless:</tt> a method or a proc, evaluated after the commit
        # * <tt>type:</tt> the entity's type, by default the model's name
        # * <tt>only:</tt>, <tt>except:</tt> the attributes to send or to leave out; if
        #   the model has a +to_stream_value+, the keys of the hash it returns
        def streams_to(*targets, **options)
          unless targets.any? && targets.all? { |target| target.is_a?(Symbol) || target.respond_to?(:call) }
            raise ArgumentError, "streams_to takes associations, methods and procs, not #{targets.inspect}. For a stream with a fixed name: streams \"boards\""
          end

          _durable_streams_declare(targets, options)
        end

        # Broadcasts changes to the record's own stream, to the stream with the given
        # name, or to the stream that a proc returns. Takes the options of streams_to.
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
            StreamName.verify(StreamName.join(streamables)) unless streamables.empty?
            _durable_streams_declare([ streamables ], options)
          end
        end

        # Suppresses broadcasts of changes that the block makes to records of this
        # class, even if their transaction commits later. Applies to the current
        # thread and its fibers, or to the current fiber if
        # <tt>config.active_support.isolation_level</tt> is <tt>:fiber</tt>.
        def suppressing_streams
          before = Broadcastable.suppressed_classes
          Broadcastable.suppressed_classes = before + [ self ]
          yield
        ensure
          Broadcastable.suppressed_classes = before
        end

        # Whether broadcasts of this class are suppressed.
        def suppressed_streams?
          Broadcastable.suppressed_classes.any? { |suppressed| self <= suppressed }
        end

        private
          def _durable_streams_declare(targets, options)
            # The whole STI hierarchy, because a row of another class can become one of this class.
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

      # Broadcasts that this record was created.
      #
      #   txid = comment.stream_insert_to post
      def stream_insert_to(*streamables, **options)
        RecordPublisher.broadcast(self, :insert, streamables, options)
      end

      # Same as stream_insert_to(self).
      def stream_insert(**options)
        stream_insert_to(self, **options)
      end

      # Same as stream_insert_to, but from a job.
      def stream_insert_later_to(*streamables, **options)
        RecordPublisher.broadcast_later(self, :insert, streamables, options)
      end

      # Same as stream_insert_later_to(self).
      def stream_insert_later(**options)
        stream_insert_later_to(self, **options)
      end

      # Broadcasts that this record was updated.
      #
      #   comment.stream_update_to post, only: %i[ body ]
      def stream_update_to(*streamables, **options)
        RecordPublisher.broadcast(self, :update, streamables, options)
      end

      # Same as stream_update_to(self).
      def stream_update(**options)
        stream_update_to(self, **options)
      end

      # Same as stream_update_to, but from a job.
      def stream_update_later_to(*streamables, **options)
        RecordPublisher.broadcast_later(self, :update, streamables, options)
      end

      # Same as stream_update_later_to(self).
      def stream_update_later(**options)
        stream_update_later_to(self, **options)
      end

      # Broadcasts that this record was created or updated; readers need not know which.
      #
      #   comment.stream_upsert_to post
      def stream_upsert_to(*streamables, **options)
        RecordPublisher.broadcast(self, :upsert, streamables, options)
      end

      # Same as stream_upsert_to(self).
      def stream_upsert(**options)
        stream_upsert_to(self, **options)
      end

      # Same as stream_upsert_to, but from a job.
      def stream_upsert_later_to(*streamables, **options)
        RecordPublisher.broadcast_later(self, :upsert, streamables, options)
      end

      # Same as stream_upsert_later_to(self).
      def stream_upsert_later(**options)
        stream_upsert_later_to(self, **options)
      end

      # Broadcasts that this record was deleted. The event has no value.
      #
      #   comment.stream_delete_to old_post
      def stream_delete_to(*streamables, **options)
        RecordPublisher.broadcast(self, :delete, streamables, options)
      end

      # Same as stream_delete_to(self).
      def stream_delete(**options)
        stream_delete_to(self, **options)
      end

      # Same as stream_delete_to, but from a job. The job does not load the record.
      def stream_delete_later_to(*streamables, **options)
        RecordPublisher.broadcast_later(self, :delete, streamables, options)
      end

      # Same as stream_delete_later_to(self).
      def stream_delete_later(**options)
        stream_delete_later_to(self, **options)
      end

      # The value of this record's events. Override it to choose what readers see; it
      # may be private. The default is +as_json+ without encrypted, binary and secret
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
