# frozen_string_literal: true

require "test_helper"

# After the commit, no failure of a broadcast may raise.
class AfterCommitTest < ActiveSupport::TestCase
  class Queue
    attr_accessor :error

    def enqueue(_job) = raise(error)
    def enqueue_at(_job, _time) = raise(error)
  end

  setup do
    @post = Post.create!(title: "Post")
    @queue = Queue.new
    @adapter = DurableStreams::Rails::BroadcastJob.queue_adapter
  end

  teardown { DurableStreams::Rails::BroadcastJob.queue_adapter = @adapter }

  test "a queue that raises or refuses is reported" do
    [ IOError.new("the queue is away"), NotImplementedError.new("cannot"), ActiveJob::EnqueueError.new("is full") ].each do |error|
      @queue.error = error
      DurableStreams::Rails::BroadcastJob.queue_adapter = @queue
      model = comments { streams_to :post }
      record = assert_reported(error.class, "gid://dummy/Post/#{@post.id}") { model.create!(post: @post) }
      assert_equal record.id.to_s, @reports.sole[:event]["key"]
    end
  end

  test "methods called by hand raise the queue's errors, and refusals are reported" do
    comment = Comment.suppressing_streams { @post.comments.create!(body: "a") }
    DurableStreams::Rails::BroadcastJob.queue_adapter = @queue
    @queue.error = IOError.new("the queue is away")
    assert_raises(IOError) { comment.stream_update_later }
    @queue.error = ActiveJob::EnqueueError.new("is full")
    report = assert_error_reported(ActiveJob::EnqueueError) { assert_not comment.stream_update_later }
    assert_equal "gid://dummy/Comment/#{comment.id}", report.context[:stream]
  end

  test "a queue that raises at the commit is reported" do
    comment = Comment.suppressing_streams { @post.comments.create!(body: "a") }
    DurableStreams::Rails::BroadcastJob.queue_adapter = @queue
    @queue.error = IOError.new("the queue is away")
    job = DurableStreams.build_broadcast_event_to("notes", type: "note", key: 1, operation: :insert)
    [ -> { comment.stream_update_later }, -> { ActiveJob.perform_all_later(job) } ].each do |enqueue|
      assert_error_reported(IOError) { Comment.transaction(requires_new: true) { enqueue.call } }
      @queue.error = IOError.new("the queue is away")
    end
  end

  test "invalid targets are reported" do
    {
      -> { "a" * 1025 } => ArgumentError, -> { [ nil, :comments ] } => ArgumentError, -> { [ -> { } ] } => ArgumentError,
      -> { raise "oops" } => RuntimeError, -> { unknown } => NameError, -> { Post.new } => ArgumentError, -> { "gid:/a" } => ArgumentError
    }.each do |target, error|
      model = comments { streams target }
      assert_reported(error) { model.create!(post: @post) }
    end
  end

  test "a raising condition does not affect other declarations" do
    model = comments do
      streams_to :post, if: -> { raise "oops" }
      streams_to :post
    end
    assert_stream_broadcasts(@post, count: 1) { assert_reported(RuntimeError) { model.create!(post: @post) } }
  end

  test "a failing target does not affect the other targets" do
    model = comments { streams_to -> { [ nil, :comments ] }, :post }
    assert_stream_broadcasts(@post, count: 1) { assert_reported(ArgumentError) { model.create!(post: @post) } }
  end

  test "a model without a name and a raising subscriber are reported" do
    model = Class.new(ApplicationRecord) { self.table_name = "comments"; streams "unnamed" }
    assert_error_reported(ArgumentError) { model.create!(body: "a") }

    model = comments { streams -> { raise "oops" } }
    ActiveSupport::Notifications.subscribed(->(*) { raise IOError }, "broadcast_failed.durable_streams") do
      assert_error_reported(RuntimeError) { model.create! }
    end
  end

  test "an unknown STI type is reported" do
    dog = Dog.suppressing_streams { Dog.create!(name: "Rex") }
    report = assert_error_reported(ActiveRecord::SubclassNotFound) { dog.update!(type: "Unicorn") }
    assert_equal dog, report.context[:record]
  end

  deep = 200.times.inject(1) { |value, _| [ value ] }
  endless = [].tap { |list| list << list }

  {
    "invalid UTF-8" => [ "a\xFF", DurableStreams::InvalidEvent, /the event .* cannot be sent as JSON: value.body is not valid UTF-8/ ],
    "a value too deep" => [ deep, DurableStreams::InvalidEvent, /value.body.0 is nested too deeply/ ],
    "a value without end" => [ endless, SystemStackError, // ]
  }.each do |name, (body, error, message)|
    test "#{name} is reported by inline jobs" do
      model = comments { streams_to :post }
      model.define_method(:to_stream_value) { { body: body } }
      DurableStreams::Rails::BroadcastJob.queue_adapter = :inline
      assert_reported(error, "gid://dummy/Post/#{@post.id}") { model.create!(post: @post) }
      assert_match message, @reports.sole[:exception_object].message
    end
  end

  private
    def comments(&block)
      model = Class.new(ApplicationRecord) do
        self.table_name = "comments"
        belongs_to :post, optional: true
      end
      self.class.const_set("Comments#{model.object_id}", model)
      model.after_commit { callbacks << :before }
      model.class_eval(&block)
      model.after_commit { callbacks << :after }
      model.define_method(:callbacks) { @callbacks ||= [] }
      model
    end

    # Asserts that the row exists, other callbacks have run, and the failure was reported.
    def assert_reported(error_class, stream = nil)
      @reports, record = [], nil
      ActiveSupport::Notifications.subscribed(->(*, payload) { @reports << payload }, "broadcast_failed.durable_streams") do
        report = assert_error_reported(error_class) { record = yield }
        assert report.handled
        assert_equal record, report.context[:record]
        assert_equal stream, report.context[:stream] if stream
      end
      assert record.class.exists?(record.id)
      assert_equal %i[ after before ], record.callbacks.sort
      assert_equal 1, @reports.size
      record
    end
end
