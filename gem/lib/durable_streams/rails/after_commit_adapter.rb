# frozen_string_literal: true

module DurableStreams
  module Rails
    # Enqueues jobs after the commit of the transaction that they belong to, and not
    # at all if it is rolled back. Covers <tt>ActiveJob.perform_all_later</tt>.
    #
    # Active Job's own deferral waits for the transactions of all databases, and loses
    # the job when any of them is rolled back.
    class AfterCommitAdapter < Struct.new(:adapter) # :nodoc:
      delegate_missing_to :adapter

      class << self
        # Whether a job of the model, or of no model, must wait for a transaction.
        def waits_for?(model)
          return false unless defined?(::ActiveRecord::Base)
          model ? model.current_transaction.open? : ::ActiveRecord.all_open_transactions.any?
        end

        def after_commit(model, &block)
          model ? model.current_transaction.after_commit(&block) : ::ActiveRecord.after_all_transactions_commit(&block)
        end
      end

      def enqueue(job)
        defer(job) { adapter.enqueue(job) }
      end

      def enqueue_at(job, timestamp)
        defer(job) { adapter.enqueue_at(job, timestamp) }
      end

      def enqueue_all(jobs)
        jobs.each { |job| job.successfully_enqueued = true }
        jobs.group_by(&:model).each do |model, group|
          self.class.after_commit(model) { enqueue_group(group) }
        end
        jobs.size
      end

      def queue_adapter_name
        ActiveJob.adapter_name(adapter)
      end

      private
        def defer(job)
          self.class.after_commit(job.model) do
            yield
          rescue *BroadcastFailure::RESCUED => error
            job.report(error)
          end
        end

        def enqueue_group(jobs)
          ActiveJob.perform_all_later(jobs)
          jobs.each { |job| job.report(job.enqueue_error) if job.enqueue_error }
        rescue *BroadcastFailure::RESCUED => error
          jobs.each { |job| job.report(error) }
        end
    end
  end
end
