# frozen_string_literal: true

require "securerandom"

module DurableStreams
  module Rails
    # Broadcasts a record's events: those of its stream_ methods and of its committed
    # changes.
    class RecordPublisher # :nodoc:
      # Shared by all events of a commit.
      attr_reader :txid

      class << self
        def broadcast(record, operation, streamables, options)
          new(record).broadcast(operation, streamables, options)
        end

        def broadcast_later(record, operation, streamables, options)
          new(record).broadcast_later(operation, streamables, options)
        end
      end

      def initialize(record)
        @record = record
        @txid = SecureRandom.uuid
        @published = false
      end

      def published?
        @published
      end

      def broadcast(operation, streamables, options)
        DurableStreams.broadcast_event_to(*streamables, **event_with_value(@record, operation, options)) unless @record.class.suppressed_streams?
      end

      def broadcast_later(operation, streamables, options)
        build_job(@record, operation, streamables, options)&.enqueue_and_report unless @record.class.suppressed_streams?
      end

      # Broadcasts a committed change. Failures are reported, not raised, and do not
      # affect other streams.
      #
      # To readers, a row whose type changed is another entity.
      def publish(operation, former_class: nil)
        BroadcastFailure.contain(@record, operation) do
          record = as_class(current_class)
          if former_class && operation == :update && former_class != record.class
            publish_as(as_class(former_class), :delete)
            publish_as(record, :insert)
          else
            publish_as(record, operation)
          end
        end
      end

      private
        def publish_as(record, operation)
          record.class._durable_streams_declarations.each do |declaration|
            BroadcastFailure.contain(record, operation) do
              next unless declaration.applies?(record, operation)

              declaration.streams_of(record).each do |streamables|
                BroadcastFailure.contain(record, operation, streamables) do
                  publish_to(streamables, record, operation, declaration.options)
                end
              end
            end
          end
        end

        def publish_to(streamables, record, operation, options)
          options = options.merge(txid: txid)
          if defined?(::ActiveJob)
            build_job(record, operation, streamables, options)&.enqueue_and_report(record: record)
          else
            DurableStreams.broadcast_event_briefly_to(*streamables, **event_with_value(record, operation, options))
          end.tap { |sent| @published = true if sent }
        end

        def event_with_value(record, operation, options)
          event, choice = event_of(record, operation, options)
          event[:value] = RecordValue.of(record, **choice) if choice
          event
        end

        def build_job(record, operation, streamables, options)
          event, choice = event_of(record, operation, options)
          event[:value] = reference_or_value(record, choice) if choice
          DurableStreams.build_broadcast_event_to(*streamables, **event)&.tap { |job| job.model = record.class }
        end

        def reference_or_value(record, choice)
          if RecordReference.refers_to?(record)
            RecordReference.to(record, **choice)
          else
            RecordValue.of(record, **choice)
          end
        end

        # Returns the event, and the +only+ and +except+ options of its value unless the
        # event has no value or was given one.
        def event_of(record, operation, options)
          event = { type: record.model_name.singular, key: key_of(record), operation: operation, **options }
          choice = event.extract!(:only, :except)
          [ event, (choice unless operation == :delete || options.key?(:value)) ]
        end

        def key_of(record)
          Array(record.id).join("_")
        end

        # The class of the row's current type; the instance keeps the class that it was
        # loaded as.
        def current_class
          model, column = @record.class, @record.class.inheritance_column
          type = @record[column] if @record.has_attribute?(column)
          type.present? ? model.sti_class_for(type) : model
        end

        def as_class(klass)
          klass == @record.class ? @record : @record.becomes(klass)
        end
    end
  end
end
