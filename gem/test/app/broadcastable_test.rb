# frozen_string_literal: true

require "test_helper"

class BroadcastableTest < ActiveSupport::TestCase
  setup { @post = Post.create!(title: "Post") }

  test "creating comment streams to post" do
    assert_stream_broadcasts @post, count: 1 do
      @post.comments.create!(body: "Hello")
    end
  end

  test "creates, updates and destroys are broadcast" do
    insert, update, delete = capture_stream_broadcasts @post do
      comment = @post.comments.create!(body: "Hello")
      comment.update!(body: "Goodbye")
      comment.destroy!
    end

    assert_equal %w[ insert update delete ], [ insert, update, delete ].map { |event| event["headers"]["operation"] }
    assert_equal [ "comment" ] * 3, [ insert, update, delete ].pluck("type")
    assert_equal [ insert["key"] ] * 3, [ insert, update, delete ].pluck("key")
    assert_equal "Hello", insert["value"]["body"]
    assert_equal "Goodbye", update["value"]["body"]
    assert_not_includes delete, "value"
  end

  test "a proc can name the stream, and to_stream_value is sent" do
    events = capture_stream_broadcasts(@post, :replies) { Reply.create!(post: @post, body: "Hi") }

    assert_equal [ "reply" ], events.pluck("type")
    assert_equal({ "id" => Reply.last.id, "text" => "Hi" }, events.first["value"])
    assert_no_stream_broadcasts @post
  end

  test "streams broadcasts to the record's own stream" do
    board = nil
    operations = -> { DurableStreams.read_stream(board).map { |event| event["headers"]["operation"] } }
    assert_no_stream_broadcasts("boards") { board = Board.create!(name: "A") }
    assert_stream_broadcasts(board, count: 2) { board.update!(name: "B"); board.destroy! }
    assert_equal %w[ insert update delete ], operations.call
  end

  test "streams broadcasts to a fixed name" do
    assert_stream_broadcasts "rooms", count: 3 do
      room = Room.create!(name: "A")
      room.update!(name: "B")
      room.destroy!
    end
  end

  test "synchronous methods return the txid" do
    comment = Comment.suppressing_streams { @post.comments.create!(body: "Hello") }

    %w[ insert update upsert delete ].each do |operation|
      txid = nil
      event, = capture_stream_broadcasts(@post, :others) { txid = comment.public_send(:"stream_#{operation}_to", @post, :others) }
      assert_equal [ operation, txid ], event["headers"].values_at("operation", "txid")
      assert_equal operation != "delete", event.key?("value")

      event, = capture_stream_broadcasts(comment) { txid = comment.public_send(:"stream_#{operation}") }
      assert_equal txid, event["headers"]["txid"]
    end
  end

  test "later methods broadcast from a job" do
    comment = Comment.suppressing_streams { @post.comments.create!(body: "Hello") }

    %w[ insert update upsert delete ].each do |operation|
      event, = capture_stream_broadcasts(@post) { comment.public_send(:"stream_#{operation}_later_to", @post) }
      assert_equal operation, event["headers"]["operation"]

      assert_stream_broadcasts(comment, count: 1) { comment.public_send(:"stream_#{operation}_later") }
    end
  end

  test "options override the parts of the event" do
    event, = capture_stream_broadcasts @post do
      comment = Comment.suppressing_streams { @post.comments.create!(body: "Hello") }
      comment.stream_update_to @post, type: "note", key: "k", value: { a: 1 }, txid: "t", headers: { timestamp: "now" }
    end

    assert_equal({ "type" => "note", "key" => "k", "value" => { "a" => 1 }, "headers" => { "timestamp" => "now", "operation" => "update", "txid" => "t" } }, event)
  end

  test "no broadcasts when suppressed" do
    assert_no_stream_broadcasts @post do
      Comment.suppressing_streams { @post.comments.create!(body: "Silent").stream_insert_to(@post) }
      ApplicationRecord.suppressing_streams { @post.comments.create!(body: "Silent") }
    end
  end

  test "suppression is limited to one class, one thread and the block" do
    Board.suppressing_streams do
      assert_stream_broadcasts(@post, count: 1) { @post.comments.create!(body: "Heard") }
      assert_not Thread.new { Board.suppressed_streams? }.value
    end
    assert_raises(RuntimeError) { Comment.suppressing_streams { raise "oops" } }
    assert_not Comment.suppressed_streams?
  end

  test "rolled back changes are not broadcast" do
    assert_no_stream_broadcasts @post do
      Comment.transaction(requires_new: true) do
        @post.comments.create!(body: "Never")
        raise ActiveRecord::Rollback
      end
    end
  end

  test "nothing is broadcast before the commit" do
    assert_stream_broadcasts @post, count: 1 do
      Comment.transaction(requires_new: true) do
        @post.comments.create!(body: "Hello")
        assert_no_stream_broadcasts @post
      end
    end
  end
end
