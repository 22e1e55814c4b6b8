# frozen_string_literal: true

# Tells about broadcasts that failed: subscribers of
# <tt>broadcast_failed.durable_streams</tt>, each error once, and
# <tt>Rails.error</tt> where nobody is there to rescue.
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

    def report(error, event:, record: nil, stream: nil, streamables: nil)
      stream ||= name_of(streamables)
      instrument(error, stream: stream, event: event)
      ::Rails.error.report(error, handled: true, context: { record: record, stream: stream }.compact, source: "durable_streams")
    end

    private
      def name_of(streamables)
        DurableStreams.send(:stream_name_from, streamables) if streamables
      rescue StandardError
        nil
      end
  end
end
