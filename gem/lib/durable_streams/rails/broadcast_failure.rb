# frozen_string_literal: true

module DurableStreams
  module Rails
    # Publishes failed broadcasts: as <tt>broadcast_failed.durable_streams</tt>,
    # once for each error, and to <tt>Rails.error</tt> where no caller can rescue.
    module BroadcastFailure # :nodoc:
      # Errors that must not escape from an after_commit callback. An inline queue
      # that cannot wait raises NotImplementedError, and a value that contains itself
      # raises SystemStackError.
      RESCUED = [ StandardError, NotImplementedError, SystemStackError ].freeze

      class << self
        def instrument(error, stream:, event:)
          unless error.instance_variable_defined?(:@_durable_streams_instrumented)
            error.instance_variable_set(:@_durable_streams_instrumented, true) unless error.frozen?
            ActiveSupport::Notifications.instrument("broadcast_failed.durable_streams", stream: stream, event: event, exception_object: error)
          end
        end

        def report(error, event:, record: nil, stream: nil)
          report_handled(error, { record: record || contained_record, stream: stream }.compact)
          instrument(error, stream: stream, event: event)
        rescue StandardError => subscriber_error
          report_handled(subscriber_error, {})
        end

        # Reports failures of the block instead of raising them.
        def contain(record, operation, streamables = nil)
          before, self.contained_record = contained_record, record
          yield
        rescue *RESCUED => error
          report(error, event: summary_of(record, operation), record: record, stream: streamables && name_of(streamables))
        ensure
          self.contained_record = before
        end

        # The record whose after_commit callback is running, also inside a job that
        # an inline queue runs there.
        def contained_record
          ActiveSupport::IsolatedExecutionState[:durable_streams_contained_record]
        end

        private
          def contained_record=(record)
            ActiveSupport::IsolatedExecutionState[:durable_streams_contained_record] = record
          end

          def report_handled(error, context)
            ::Rails.error.report(error, handled: true, context: context, source: "durable_streams")
          end

          def summary_of(record, operation)
            { "type" => record.class.name.to_s.underscore, "key" => Array(record.id).join("_"), "headers" => { "operation" => operation.to_s } }
          end

          def name_of(streamables)
            StreamName.from(streamables)
          rescue StandardError
            nil
          end
      end
    end
  end
end
