# frozen_string_literal: true

require "active_support/concern"
require "active_support/isolated_execution_state"

module DurableStreams
  module Rails
    # Tracks the rows that a transaction changes while broadcasts are not suppressed,
    # and broadcasts them after the commit. Included by +streams_to+ and +streams+.
    #
    # Changes are tracked by row, because Active Record runs the commit callbacks of
    # only one instance of each row, which may not be the changed one.
    module ChangeTracking # :nodoc:
      extend ActiveSupport::Concern

      Changes = Struct.new(:count, :former_class, :instances)

      included do
        class_attribute :_durable_streams_declarations, instance_accessor: false, default: [].freeze

        before_save    :_durable_streams_before_save
        after_save     :_durable_streams_after_save
        after_touch    :_durable_streams_after_touch
        after_destroy  :_durable_streams_after_destroy

        after_commit(on: :create)  { _durable_streams_committed(:insert) }
        after_commit(on: :update)  { _durable_streams_committed(:update) }
        after_commit(on: :destroy) { _durable_streams_committed(:delete) }
      end

      class << self
        def open_changes
          ActiveSupport::IsolatedExecutionState[:durable_streams_changes] ||= {}
        end
      end

      def initialize_dup(*) # :nodoc:
        @_durable_streams_txid = nil
        super
      end

      # Rails defers the UPDATE, but suppression depends on the current block.
      def touch_later(*) # :nodoc:
        super.tap { _durable_streams_changed }
      end

      # Called for each instance of the transaction, even if a callback raises and the
      # transaction's own callbacks do not run. A change left behind would be broadcast
      # with a later, suppressed one.
      def committed!(...) # :nodoc:
        super
      ensure
        _durable_streams_leave
      end

      private
        def touch_deferred_attributes
          @_durable_streams_touched = true
          super
        ensure
          @_durable_streams_touched = false
        end

        def _durable_streams_before_save
          _durable_streams_join
          self.class._durable_streams_declarations.each { |declaration| declaration.verify(self) }
          @_durable_streams_dirty = changed_for_autosave?
        end

        def _durable_streams_after_save
          _durable_streams_changed(_durable_streams_former_class) if @_durable_streams_dirty || saved_changes?
        end

        def _durable_streams_after_touch
          _durable_streams_changed unless @_durable_streams_touched
        end

        def _durable_streams_after_destroy
          _durable_streams_changed
        end

        def _durable_streams_changed(former_class = nil)
          transaction = self.class.current_transaction
          return _durable_streams_join if self.class.suppressed_streams? || transaction.closed?

          open_changes, row = ChangeTracking.open_changes, _durable_streams_row
          changes = (open_changes[row] ||= Changes.new(0, nil, Set[].compare_by_identity))
          changes.count += 1
          changes.instances << self
          changes.former_class ||= former_class

          forget = -> { open_changes.delete(row) if open_changes[row].equal?(changes) }
          transaction.after_commit(&forget)
          transaction.after_rollback { forget.call if (changes.count -= 1).zero? }
        end

        def _durable_streams_committed(operation)
          if (changes = ChangeTracking.open_changes.delete(_durable_streams_row))
            publisher = RecordPublisher.new(self)
            publisher.publish(operation, former_class: changes.former_class)
            @_durable_streams_txid = publisher.txid if publisher.published?
            _durable_streams_publish_successor(changes) if operation == :delete
          end
        end

        # Rails runs no callbacks for a row that is created again with the same key.
        def _durable_streams_publish_successor(changes)
          successor = changes.instances.find { |instance| instance.persisted? && instance.previously_new_record? }
          RecordPublisher.new(successor).publish(:insert) if successor
        end

        # Another instance may have changed the row whose callbacks this one runs.
        def _durable_streams_join
          ChangeTracking.open_changes[_durable_streams_row]&.instances&.add(self)
        end

        def _durable_streams_leave
          open_changes, row = ChangeTracking.open_changes, _durable_streams_row
          instances = open_changes[row]&.instances
          open_changes.delete(row) if instances&.delete?(self) && instances.empty?
        end

        # Ids are not unique across shards.
        def _durable_streams_row
          [ self.class.base_class, self.class.current_shard, id_in_database || id ]
        end

        def _durable_streams_former_class
          column = self.class.inheritance_column
          if !previously_new_record? && has_attribute?(column) && saved_change_to_attribute?(column)
            former, = saved_change_to_attribute(column)
            former ? self.class.sti_class_for(former) : self.class.base_class
          end
        rescue ActiveRecord::SubclassNotFound
          nil
        end
    end
  end
end
