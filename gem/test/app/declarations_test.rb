# frozen_string_literal: true

require "test_helper"

class DeclarationsTest < ActiveSupport::TestCase
  setup { @post, @other = Post.create!(title: "Post"), Post.create!(title: "Other") }

  test "on: limits the operations" do
    model = comments { streams_to :post, on: %i[ create destroy ] }
    assert_equal %w[ insert delete ], operations { model.create!(post: @post, body: "a").tap { |it| it.update!(body: "b") }.destroy! }
    model = comments { streams_to :post, on: :update }
    assert_equal %w[ update ], operations { model.create!(post: @post, body: "a").tap { |it| it.update!(body: "b") }.destroy! }
    assert_raises(ArgumentError) { comments { streams_to :post, on: :save } }
    assert_raises(ArgumentError) { comments { streams_to :post, on: [] } }
  end

  test "if: and unless: take methods and procs" do
    model = comments do
      streams_to :post, if: :loud?, unless: ->(comment) { comment.body == "LOUD BUT NOT" }
      streams_to :post, if: -> { body == "both" }, type: "other"
      def loud? = body.upcase == body
    end
    assert_equal %w[ LOUD both ], events { %w[ LOUD quiet both ].each { |body| model.create!(post: @post, body: body) } && model.create!(post: @post, body: "LOUD BUT NOT") }.map { |event| event["value"]["body"] }
  end

  test "several declarations and targets share one txid" do
    model = comments do
      streams_to :post, :other, type: "remark"
      streams "all"
      cattr_accessor :elsewhere
      def other = elsewhere
    end
    model.elsewhere = @other
    comment, there, all = nil
    here = events do
      there = capture_stream_broadcasts(@other) { all = capture_stream_broadcasts("all") { comment = model.create!(post: @post, body: "a") } }
    end

    assert_equal %w[ remark ], here.pluck("type")
    assert_equal %w[ remark ], there.pluck("type")
    assert_equal 1, all.size
    assert_equal [ comment.stream_txid ] * 3, (here + there + all).map { |event| event["headers"]["txid"] }
  end

  test "stream_txid belongs to the last broadcast commit" do
    comment = Comment.new(post: @post, body: "a")
    assert_nil comment.stream_txid
    comment.save!
    first = comment.stream_txid
    Comment.suppressing_streams { comment.update!(body: "b") }
    assert_equal first, comment.stream_txid
    comment.update!(body: "c")
    assert_not_equal first, comment.stream_txid
    assert_nil comment.dup.stream_txid
  end

  test "streams takes a proc with one argument or none" do
    model = comments { streams ->(comment) { [ comment.post, :notes ] } }
    assert_stream_broadcasts(@post, :notes, count: 1) { model.create!(post: @post) }
    model = comments { streams -> { [ post, :mine ] } }
    assert_stream_broadcasts(@post, :mine, count: 1) { model.create!(post: @post) }
    assert_raises(ArgumentError) { comments { streams "a", -> { } } }
  end

  test "each record of an association has its own stream" do
    model = comments do
      streams_to :posts
      def posts = Post.where(title: %w[ Post Other ])
    end
    there = nil
    assert_stream_broadcasts(@post, count: 1) { there = capture_stream_broadcasts(@other) { model.create! } }
    assert_equal 1, there.size
  end

  test "a nil parent has no stream" do
    model = comments { streams_to :post }
    assert_no_error_reported { model.create!(body: "orphan") }
  end

  test "invalid declarations raise when the class is loaded" do
    error = assert_raises(ArgumentError) { comments { streams_to "boards" } }
    assert_match 'not ["boards"]. For a stream with a fixed name: streams "boards"', error.message
    [ [], [ @post ], [ nil ], [ { a: 1 } ] ].each { |targets| assert_raises(ArgumentError, targets.inspect) { comments { streams_to(*targets) } } }
    [ { onn: :create }, { if: "loud?" }, { unless: [ :loud?, "quiet?" ] } ].each { |options| assert_raises(ArgumentError, options.inspect) { comments { streams_to :post, **options } } }
    [ [ nil ], [ "" ], [ "a", nil ], [ { a: 1 } ], [ "a\nb" ], [ "a" * 1025 ] ].each { |parts| assert_raises(ArgumentError, parts.inspect) { comments { streams(*parts) } } }
  end

  test "an unknown symbol raises before the row is written" do
    [ [ :posst, {} ], [ :post, { if: :lood? } ] ].each do |target, options|
      model = comments { streams_to target, **options }
      assert_no_difference -> { Comment.count } do
        assert_match(/streams_to :(posst|lood\?): .* has no such association or method/, assert_raises(ArgumentError) { model.create!(body: "a") }.message)
      end
    end
  end

  test "a column can be a target" do
    model = comments { streams_to :body }
    assert_stream_broadcasts("named", count: 1) { model.create!(body: "named") }
  end

  test "the gem adds no names that apps use" do
    log = StreamLog.create!(stream_event: "a", stream_event_to: "b", stream_event_later_to: "c", streams_changes: "d", stream_change: @post)
    assert_equal [ "a", @post ], [ log.reload.stream_event, log.stream_change ]

    log.update!(method: "GET")
    assert_equal "GET", capture_stream_broadcasts("a") { log.stream_insert_to("a") }.sole["value"]["method"]

    added = DurableStreams::Rails::Broadcastable.private_instance_methods(false) +
      DurableStreams::Rails::Broadcastable::ClassMethods.private_instance_methods(false)
    assert_empty added.reject { |name| name.start_with?("_durable_streams_") }
  end

  private
    def comments(&block)
      model = Class.new(ApplicationRecord) do
        self.table_name = "comments"
        belongs_to :post, optional: true
      end
      self.class.const_set("Comments#{model.object_id}", model)
      model.class_eval(&block)
      model
    end

    def events(&block)
      capture_stream_broadcasts(@post, &block)
    end

    def operations(&block)
      events(&block).map { |event| event["headers"]["operation"] }
    end
end
