# frozen_string_literal: true

require "active_job"

module DurableStreams
  module Rails
    # Sends the broadcasts of the +later+ methods.
    #
    # The job is retried while the server is unavailable. All attempts share the
    # identity of the first, so an append whose response was lost takes effect once.
    # The job is dropped if the record is gone, whose destruction is a broadcast of its
    # own, or if the app deleted the stream after the job was created.
    #
    # <tt>config.durable_streams.queue</tt> sets its queue. Configure anything else in
    # an initializer:
    #
    #   ActiveSupport.on_load(:durable_streams_broadcast_job) do
    #     queue_with_priority 10
    #   end
    #
    # After the last attempt it instruments <tt>broadcast_given_up.durable_streams</tt>.
    class BroadcastJob < ActiveJob::Base
      ATTEMPTS = 12

      # The arguments contain the app's data.
      self.log_arguments = false

      # Deferred by #queue_adapter instead: readers must not see an event before its row.
      self.enqueue_after_transaction_commit = ::Rails::VERSION::MAJOR >= 8 ? false : :never if respond_to?(:enqueue_after_transaction_commit=)

      queue_as { DurableStreams.config.queue }

      retry_on ConnectionError, InsufficientStorage,
        wait: :polynomially_longer, attempts: ATTEMPTS

      discard_on ActiveJob::DeserializationError

      after_discard { |job, error| job.give_up(error) unless error.is_a?(ActiveJob::DeserializationError) }

      # The model whose transaction must commit before the job is enqueued; if nil, all
      # open transactions must.
      attr_accessor :model # :nodoc:

      def initialize(...)
        super
        @named_at = StreamDeletions.now
      end

      def perform(stream_name, record: nil, **event)
        event[:value] = RecordReference.new(record).value if record
        DurableStreams.deliver_event(stream_name, **event, txid: event[:txid] || job_id, producer: @producer, named_at: @named_at)
      rescue RecordReference::Gone
        nil
      rescue ConnectionError => error
        @producer = error.producer || @producer
        raise
      end

      # Inside an after_commit callback, an inline queue reports failures instead of
      # raising them.
      def perform_now
        super
      rescue *BroadcastFailure::RESCUED => error
        return report(error) if BroadcastFailure.contained_record

        ::Rails.error.set_context(**{ stream: stream_name, record: record_gid }.compact) # For the queue's report.
        raise
      end

      # Enqueues the job, and reports an ActiveJob::EnqueueError, which Active Job
      # only stores in the job.
      def enqueue_and_report(record: nil) # :nodoc:
        enqueue.tap { report(enqueue_error, record: record) if enqueue_error }
      end

      def report(error, record: nil) # :nodoc:
        BroadcastFailure.report(error, record: record, stream: stream_name, event: event_summary)
      end

      # Waits at least for the server's Retry-After. On a queue that cannot wait, the
      # job gives up.
      def retry_job(options = {})
        error = options[:error]
        delay = error.retry_after if error.respond_to?(:retry_after)
        super(delay ? options.merge(wait: [ options[:wait].to_f, delay ].max) : options)
      rescue NotImplementedError
        give_up(error)
        report(error)
      end

      def give_up(error) # :nodoc:
        ActiveSupport::Notifications.instrument("broadcast_given_up.durable_streams",
          stream: stream_name, event: event_summary, job: self, exception_object: error)
      end

      def queue_adapter
        adapter = super
        AfterCommitAdapter.waits_for?(model) ? AfterCommitAdapter.new(adapter) : adapter
      end

      def serialize # :nodoc:
        super.merge({ "durable_streams_producer" => @producer, "durable_streams_named_at" => @named_at }.compact)
      end

      def deserialize(job_data) # :nodoc:
        super
        @producer = job_data["durable_streams_producer"]
        @named_at = job_data["durable_streams_named_at"]
      end

      private
        def stream_name
          arguments.first
        end

        def event
          arguments.last.is_a?(Hash) ? arguments.last : {}
        end

        def record_gid
          event.dig(:record, "gid")
        end

        def event_summary
          { "type" => event[:type].to_s, "key" => event[:key].to_s, "headers" => { "operation" => event[:operation].to_s } }
        end
    end
  end
end

ActiveSupport.run_load_hooks(:durable_streams_broadcast_job, DurableStreams::Rails::BroadcastJob)
