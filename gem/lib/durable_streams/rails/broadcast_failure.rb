# frozen_string_literal: true

# Tells about broadcasts that failed: subscribers of
# <tt>broadcast_failed.durable_streams</tt>, each error once, and
# <tt>Rails.error</tt> where no caller is left to rescue.
module DurableStreams::Rails::BroadcastFailure # :nodoc:
  # All that a callback after the commit must not let through. An inline queue
  # that cannot wait raises NotImplementedError, a value that holds itself
  # SystemStackError.
  RESCUED = [ StandardError, NotImplementedError, SystemStackError ].freeze

  class << self
    def instrument(error, stream:, event:)
      unless error.instance_variable_defined?(:@_durable_streams_instrumented)
        error.instance_variable_set(:@_durable_streams_instrumented, true) unless error.frozen?
        ActiveSupport::Notifications.instrument("broadcast_failed.durable_streams", stream: stream, event: event, exception_object: error)
      end
    end

    def report(error, event:, record: nil, stream: nil)
      instrument(error, stream: stream, event: event)
    rescue StandardError => subscriber_error
      handled(subscriber_error, {})
    ensure
      handled(error, { record: record || contained_record, stream: stream }.compact)
    end

    # Runs the block after the record's commit, and lets no failure through.
    def contain(record, operation, streamables = nil)
      before, self.contained_record = contained_record, record
      yield
    rescue *RESCUED => error
      report(error, event: summary_of(record, operation), record: record, stream: streamables && name_of(streamables))
    ensure
      self.contained_record = before
    end

    # The record of whose commit this is part, in a job that runs in place too.
    def contained_record
      ActiveSupport::IsolatedExecutionState[:durable_streams_contained_record]
    end

    private
      def contained_record=(record)
        ActiveSupport::IsolatedExecutionState[:durable_streams_contained_record] = record
      end

      def handled(error, context)
        ::Rails.error.report(error, handled: true, context: context, source: "durable_streams")
      end

      def summary_of(record, operation)
        { "type" => record.class.name.to_s.underscore, "key" => Array(record.id).join("_"), "headers" => { "operation" => operation.to_s } }
      end

      def name_of(streamables)
        DurableStreams.send(:stream_name_from, streamables)
      rescue StandardError
        nil
      end
  end
end
