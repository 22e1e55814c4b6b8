# frozen_string_literal: true

require "test_helper"

class TransactionsTest < ActiveSupport::TestCase
  include ActiveJob::TestHelper

  setup do
    @post = Post.create!(title: "Post")
    @comment = Comment.suppressing_streams { @post.comments.create!(body: "a") }
  end

  test "changes inside suppressing_streams are suppressed, even if the commit comes later" do
    assert_operations do
      transaction { Comment.suppressing_streams { @comment.update!(body: "b") } }
      transaction { Comment.suppressing_streams { @comment.touch } }
      transaction { ApplicationRecord.suppressing_streams { @comment.touch_later } }
      transaction { Comment.suppressing_streams { @post.comments.create!(body: "c") } }
      transaction { Comment.suppressing_streams { Comment.last.destroy! } }
    end
  end

  test "changes outside suppressing_streams are broadcast" do
    assert_operations("update") { transaction { @comment.update!(body: "b"); Comment.suppressing_streams { @comment.touch } } }
    assert_operations("update") { transaction { Comment.suppressing_streams { @comment.touch }; @comment.update!(body: "c") } }
    assert_operations("update") { transaction { @comment.update!(body: "d"); Comment.suppressing_streams { Board.create! } } }
    assert_operations("update") { transaction { @comment.touch_later } }
    assert_operations("insert") { transaction { it = Comment.suppressing_streams { @post.comments.create!(body: "e") }; it.update!(body: "f") } }
    transaction = -> { Comment.transaction(requires_new: true) { @comment.update!(body: "g") } }
    assert_operations { Comment.suppressing_streams(&transaction) }
  end

  test "a save without changes is not broadcast" do
    assert_operations { 2.times { @comment.save! } }
    assert_operations("update") { @comment.update!(body: "b"); @comment.save! }
    assert_operations("update") { transaction { @comment.update!(body: "c"); @comment.save! } }
    assert_operations("update") { @comment.touch }
    assert_operations("insert") { @post.comments.create!.save! }
  end

  test "a save that changes only autosaved records is broadcast" do
    post_class = Class.new(ApplicationRecord) do
      self.table_name = "posts"
      has_many :comments, foreign_key: :post_id, autosave: true, inverse_of: false
      def self.name = "TransactionsTest::Autosaving"
      streams "autosaving"
    end
    self.class.const_set(:Autosaving, post_class)
    post = post_class.find(@post.id)
    post.comments.load.first.body = "changed"
    assert_stream_broadcasts("autosaving", count: 1) { post.save! }
    assert_no_stream_broadcasts("autosaving") { post.save! }
  end

  test "a change is broadcast when another instance of the row is saved" do
    assert_operations("update") do
      transaction { Comment.find(@comment.id).update!(body: "b"); Comment.find(@comment.id).save! }
    end
    assert_operations("update") do
      transaction { @comment.update!(body: "c"); Comment.suppressing_streams { Comment.find(@comment.id).touch } }
    end
  end

  test "rolled back savepoints are not broadcast" do
    assert_operations { transaction { transaction(rollback: true) { @comment.update!(body: "b") }; @comment.save! } }
    assert_operations("update") { transaction { @comment.reload.update!(body: "c"); transaction(rollback: true) { @comment.update!(body: "d") } } }
    assert_operations("update") { transaction { transaction { @comment.reload.update!(body: "e") }; transaction(rollback: true) { @comment.update!(body: "f") } } }
    assert_operations { transaction(rollback: true) { @comment.reload.update!(body: "g") }; Comment.suppressing_streams { @comment.update!(body: "h") } }
    assert_operations("delete", "delete") { transaction { it = @post.comments.create!; it.destroy!; @comment.destroy! } }
    assert_empty DurableStreams::Rails::ChangeTracking.open_changes
  end

  test "perform_all_later waits for the commit and enqueues nothing after a rollback" do
    jobs = -> { 2.times.map { |at| DurableStreams.build_broadcast_event_to("notes", type: "note", key: at, operation: :insert) } }

    transaction do
      ActiveJob.perform_all_later(jobs.call)
      assert_no_enqueued_jobs
    end
    assert_enqueued_jobs 2
    transaction(rollback: true) { ActiveJob.perform_all_later(jobs.call) }
    transaction(rollback: true) { jobs.call.each(&:enqueue) }
    transaction(rollback: true) { jobs.call.first.enqueue(wait: 1.minute) }
    transaction { transaction(rollback: true) { ActiveJob.perform_all_later(jobs.call) } }
    assert_enqueued_jobs 2
    transaction { jobs.call.first.enqueue(wait: 1.minute) }
    assert_enqueued_jobs 3
    ActiveJob.perform_all_later(jobs.call)
    assert_enqueued_jobs 5
  end

  test "later methods wait for the commit and enqueue nothing after a rollback" do
    transaction do
      assert @comment.stream_update_later_to(@post)
      assert_no_enqueued_jobs
    end
    assert_enqueued_jobs 1
    transaction(rollback: true) { @comment.stream_delete_later_to(@post) }
    assert_enqueued_jobs 1
  end

  test "a rollback in another database does not drop a record's event" do
    assert_operations("update", "update", "delete") do
      AuditRecord.transaction(requires_new: true) do
        AuditEntry.create!(body: "a")
        @comment.update!(body: "b")
        @comment.stream_update_later_to(@post)
        @comment.stream_delete_later_to(@post)
        raise ActiveRecord::Rollback
      end
    end
  end

  test "an event waits for its own database only" do
    AuditRecord.transaction(requires_new: true) do
      AuditEntry.create!(body: "a")
      transaction do
        @comment.update!(body: "b")
        assert_no_enqueued_jobs only: DurableStreams::Rails::BroadcastJob
      end
      assert_enqueued_jobs 1, only: DurableStreams::Rails::BroadcastJob
    end
  end

  test "a row that is destroyed and created again is broadcast as both" do
    assert_operations("delete", "insert") { transaction { @comment.destroy!; @post.comments.create!(id: @comment.id, body: "b") } }
    created = @comment.class.find(@comment.id)
    assert_operations("delete") { transaction { Comment.find(created.id).update!(body: "c"); created.destroy! } }
    assert_operations("insert") { transaction { @post.comments.create!(id: created.id, body: "d") } }
    assert_operations { transaction(rollback: true) { @post.comments.last.destroy!; @post.comments.create!(id: created.id, body: "e") } }
  end

  test "a raising callback of another record leaves no change behind" do
    raising = Class.new(ApplicationRecord) do
      self.table_name = "boards"
      def self.name = "Raising"
      after_commit { raise "oops" }
    end
    before = DurableStreams::Rails::ChangeTracking.open_changes.size
    assert_raises(RuntimeError, match: "oops") do
      transaction { raising.create!; @comment.update!(body: "b"); Comment.find(@comment.id).update!(body: "c") }
    end

    assert_equal before, DurableStreams::Rails::ChangeTracking.open_changes.size
    assert_operations { Comment.suppressing_streams { @comment.update!(body: "d") } }
    assert_operations("update") { @comment.update!(body: "e") }
  end

  private
    def transaction(rollback: false)
      Comment.transaction(requires_new: true) do
        yield
        raise ActiveRecord::Rollback if rollback
      end
    end

    def assert_operations(*operations, &block)
      assert_equal operations, capture_stream_broadcasts(@post, &block).map { |event| event["headers"]["operation"] }
    end
end
