# frozen_string_literal: true

module DurableStreams
  module Rails
    # Processes the pending events of a wake, stream by stream, and acknowledges them.
    class Delivery # :nodoc:
      # The worker is stopping.
      class Stopped < StandardError; end

      def initialize(subscription, lease, stopping: -> { false })
        @subscription, @lease, @stopping = subscription, lease, stopping
      end

      # Returns whether another wake follows. Raises the first error of the handler,
      # after the other streams have been processed; what was processed is acknowledged.
      def perform
        errors = []
        @lease.keep do
          @lease.wake.streams.each do |stream|
            process(stream)
          rescue Fenced, Stopped, ConnectionError
            raise
          rescue *BroadcastFailure::RESCUED => error
            errors << [ error, stream.name ]
          end
          @lease.acknowledge if errors.any?
        end
        errors.empty? ? @lease.done : raise_first(errors)
      end

      private
        # The job or the worker reports the first.
        def raise_first(errors)
          (first, name), *others = errors
          others.each { |error, other| ::Rails.error.report(error, handled: true, context: { stream: other }, source: "durable_streams") }
          ::Rails.error.set_context(stream: name)
          raise first
        end

        def process(stream)
          offset = stream.acked_offset
          loop do
            page = read(stream.path, offset) || break
            page.events.each_slice(@subscription.batch_size) do |events|
              raise Stopped if @stopping.call
              @lease.verify
              @subscription.handler.perform(stream.name, events)
            end
            report_skipped(stream, page) if page.skipped.positive?
            @lease.processed(stream, page.offset)
            break if page.up_to_date || page.offset == offset || page.offset >= stream.tail_offset
            offset = page.offset
          end
        end

        # Returns nil if the stream does not exist any longer.
        def read(path, offset)
          DurableStreams.transport.read(path, offset)
        rescue StreamNotFound
          nil
        rescue StreamGone => error
          return if offset == StreamOperations::BEGINNING # Deleted, but it has forks.

          ::Rails.error.report(error, handled: true, context: { stream: path }, source: "durable_streams")
          offset = StreamOperations::BEGINNING
          retry
        end

        def report_skipped(stream, page)
          error = InvalidStreamContent.new("#{page.skipped} #{"message".pluralize(page.skipped)} of #{stream.path} cannot be parsed and were not processed")
          ::Rails.error.report(error, handled: true, context: { stream: stream.path }, source: "durable_streams")
        end
    end
  end
end
