# frozen_string_literal: true

require "test_helper"

class HandlerTest < ActiveSupport::TestCase
  class Collecting < DurableStreams::Handler
    class_attribute :seen, default: []

    def process(event)
      raise ArgumentError, "bad" if event == "bad"
      raise KeyError, "worse" if event == "worse"
      seen << [ stream, event ]
    end
  end

  class Everything < Collecting
    subscribes_to "**"
  end

  class Lenient < Collecting
    subscribes_to "notes/*", batch_size: 2
    rescue_from(ArgumentError) { |error| seen << [ error.message, event ] }
  end

  class Batches < DurableStreams::Handler
    class_attribute :seen, default: []
    subscribes_to "notes/*", batch_size: 2

    def process_batch(events)
      seen << events
    end
  end

  class Prefixed < DurableStreams::Handler
    subscribes_to Post, :notes
  end

  setup do
    @post = Post.create!(title: "Post")
    [ Collecting, Everything, Lenient, Batches ].each { |handler| handler.seen = [] }
  end

  test "events are delivered as read from JSON, in their order" do
    deliver_stream_events Everything, [ { type: :note, value: { at: 1 } }, 1, nil, [ "x" ] ], stream: [ @post, :notes ]

    name = "gid://dummy/Post/#{@post.id}/notes"
    assert_equal [ [ name, { "type" => "note", "value" => { "at" => 1 } } ], [ name, 1 ], [ name, nil ], [ name, [ "x" ] ] ], Everything.seen
  end

  test "events that the test has broadcast are delivered" do
    DurableStreams.broadcast_event_to(@post, :notes, type: "note", key: 1, operation: :insert, value: 1)
    deliver_stream_events PostNotesHandler, stream: [ @post, :notes ]

    assert_equal [ [ "PostNotesHandler", "1" ] ], ReceivedEvent.where(stream: "gid://dummy/Post/#{@post.id}/notes").pluck(:handler, :key)
  end

  test "process_batch gets batches" do
    deliver_stream_events Batches, [ 1, 2, 3 ], stream: "notes/1"
    assert_equal [ [ 1, 2 ], [ 3 ] ], Batches.seen
  end

  test "an error of a handler reaches the test" do
    assert_raises(KeyError) { deliver_stream_events Everything, %w[ a worse b ], stream: "notes/1" }
    assert_equal [ [ "notes/1", "a" ] ], Everything.seen
  end

  test "rescue_from skips one event" do
    deliver_stream_events Lenient, %w[ a bad b c ], stream: "notes/1"
    assert_equal [ [ "notes/1", "a" ], [ "bad", "bad" ], [ "notes/1", "b" ], [ "notes/1", "c" ] ], Lenient.seen
    assert_raises(KeyError) { deliver_stream_events Lenient, [ "worse" ], stream: "notes/1" }
  end

  test "a stream to which the handler does not subscribe is an error of the test" do
    error = assert_raises(ArgumentError) { deliver_stream_events PostNotesHandler, [ 1 ], stream: [ @post, :likes ] }
    assert_match "PostNotesHandler subscribes to gid://dummy/Post/*/notes, which does not match gid://dummy/Post/#{@post.id}/likes", error.message
  end

  test "the record of the stream" do
    assert_equal @post, PostNotesHandler.new("gid://dummy/Post/#{@post.id}/notes").record
    assert_equal @post, PostNotesHandler.new("acme/gid://dummy/Post/#{@post.id}/notes").record
    assert_raises(ActiveRecord::RecordNotFound) { PostNotesHandler.new("gid://dummy/Post/0/notes").record }
    assert_match "subscribes_to names no model", assert_raises(ArgumentError) { Everything.new("a").record }.message
    assert_raises(ArgumentError) { PostNotesHandler.new("gid://dummy/Account/1/notes").record }
  end

  test "the records of a stream with several models" do
    handler = Class.new(DurableStreams::Handler) { subscribes_to Post, :inbox, Account }.new("gid://dummy/Post/#{@post.id}/inbox/gid://dummy/Account/#{(account = Account.create!).id}")
    assert_equal [ @post, @post, account ], [ handler.record, handler.record(Post), handler.record(Account) ]
    assert_match "have no Room", assert_raises(ArgumentError) { handler.record(Room) }.message
  end

  test "an event as parameters" do
    handler = Class.new(DurableStreams::Handler) do
      subscribes_to "a"
      class_attribute :seen, default: []
      def process(_) = seen << params.permit(:key, value: [ :body ]).to_h
    end
    deliver_stream_events handler, [ { key: "1", value: { body: "a", admin: true } }, { key: { a: 1 }, value: 1 }, 1, [ 1 ], nil, "x" ], stream: "a"

    assert_equal [ { "key" => "1", "value" => { "body" => "a" } }, {}, {}, {}, {}, {} ], handler.seen
  end

  test "names have two slashes after gid: whatever the server sends" do
    {
      "gid:/dummy/Post/1" => "gid://dummy/Post/1", "gid://dummy/Post/1" => "gid://dummy/Post/1", "a/gid:/b/gid:/c" => "a/gid://b/gid://c",
      "notgid:/a" => "notgid:/a", "a/b" => "a/b"
    }.each { |sent, name| assert_equal name, DurableStreams::Rails::StreamName.restore(sent) }
  end

  test "patterns" do
    {
      [ Post, :notes ] => "gid://dummy/Post/*/notes", [ Post ] => "gid://dummy/Post/*", [ "presence/**" ] => "presence/**",
      [ @post, "likes" ] => "gid://dummy/Post/#{@post.id}/likes", [ :boards ] => "boards", [ "a", Post, "b" ] => "a/gid://dummy/Post/*/b"
    }.each do |streamables, pattern|
      assert_equal pattern, DurableStreams::Rails::StreamPattern.new(streamables).to_s
    end
    [ [ nil ], [ "" ], [ "__ds/x" ], [ "../a" ], [ Class.new ], [ "a" * 1025 ] ].each do |streamables|
      assert_raises(ArgumentError, streamables.inspect) { DurableStreams::Rails::StreamPattern.new(streamables).to_s }
    end
    assert_raises(ArgumentError) { DurableStreams::Rails::StreamPattern.new([]) }
  end

  test "patterns match as on the server" do
    {
      "a" => { "a" => true, "b" => false, "a/b" => false }, "*" => { "a" => true, "a/b" => false }, "**" => { "a" => true, "a/b/c" => true },
      "a/*" => { "a" => false, "a/b" => true, "a/b/c" => false }, "a/**" => { "a" => true, "a/b/c" => true, "ab" => false },
      "**/c" => { "c" => true, "a/b/c" => true, "abc" => false, "c/d" => false }, "a/**/c" => { "a/c" => true, "a/b/b/c" => true, "a/c/d" => false },
      "a.c" => { "abc" => false, "a.c" => true }, "gid://x/P/*/n" => { "gid://x/P/1/n" => true, "gid://x/P/1/2/n" => false }
    }.each do |pattern, names|
      names.each { |name, matches| assert_equal matches, DurableStreams::Rails::StreamPattern.new([ pattern ]).match?(name), "#{pattern} #{name}" }
    end
  end

  test "a prefix is part of the pattern" do
    { "acme" => "acme/gid://dummy/Post/*/notes", -> { "acme" } => "**/gid://dummy/Post/*/notes" }.each do |prefix, pattern|
      with_setting(:stream_prefix, prefix) { assert_equal pattern, DurableStreams::Rails::StreamPattern.new([ Post, :notes ]).to_s }
    end
    with_setting(:stream_prefix, -> { "acme" }) do
      deliver_stream_events Everything, [ 1 ], stream: @post
      deliver_stream_events PostNotesHandler, [ { key: "prefixed" } ], stream: [ @post, :notes ]
    end
    assert_equal "acme/gid://dummy/Post/#{@post.id}/notes", ReceivedEvent.find_by!(key: "prefixed").stream
    with_setting(:stream_name_format, :gid_param) do
      assert_match "stream_name_format = :gid", assert_raises(DurableStreams::ConfigurationError) { DurableStreams::Rails::StreamPattern.new([ Post ]).to_s }.message
    end
  end

  test "a composite key has several segments" do
    model = Class.new(ApplicationRecord) { self.table_name = "posts"; self.primary_key = [ :id, :title ]; def self.name = "Pair" }
    assert_equal "gid://dummy/Pair/*/*/notes", DurableStreams::Rails::StreamPattern.new([ model, :notes ]).to_s
  end

  test "the configuration of a subscription" do
    with_setting(:webhook_url, "https://example.com/durable_streams/webhook/") do
      assert_equal "dummy-post-notes", PostNotesHandler.subscription.id
      assert_equal({ type: "webhook", pattern: "gid://dummy/Post/*/notes", webhook: { url: "https://example.com/durable_streams/webhook" }, lease_ttl_ms: 3000 }, PostNotesHandler.subscription.configuration)
    end
    assert_equal({ type: "pull-wake", pattern: "desks/*", wake_stream: "dummy/wakes", lease_ttl_ms: 3000 }, DeskHandler.subscription.configuration)
    assert_match "webhook_url is not set", assert_raises(DurableStreams::ConfigurationError) { PostNotesHandler.subscription.configuration }.message
  end

  test "options are checked where they are written" do
    { { via: :pull } => /via: must be :webhook or :worker/, { lease: 0 } => /lease: must be/, { lease: 601 } => /lease: must be/, { batch_size: 0 } => /batch_size/,
      { id: "a b" } => /id: must consist/, { id: "" } => /id: must consist/, { id: "a/b" } => /id: must consist/, { via: :worker, queue: :x } => /queue: is for jobs/, { lease_ttl: 1 } => /lease_ttl/ }.each do |options, message|
      assert_match message, assert_raises(ArgumentError) { Class.new(DurableStreams::Handler) { subscribes_to "a", **options } }.message
    end
  end

  test "a worker's handler must not subscribe to its own wakes" do
    handler = Class.new(DurableStreams::Handler) { def self.name = "LoopHandler"; subscribes_to "**", via: :worker }
    assert_match "LoopHandler must not subscribe to its wake stream", assert_raises(DurableStreams::ConfigurationError) { handler.subscription.configuration }.message
  end

  test "all handlers are found, without those that subscribe to nothing" do
    subscriptions = DurableStreams::Rails::Subscription.all
    assert_includes subscriptions, DeskHandler.subscription
    assert_not_includes subscriptions.map(&:handler), Collecting
    assert_equal PostNotesHandler.subscription, DurableStreams::Rails::Subscription.find("dummy-post-notes")
    assert_nil DurableStreams::Rails::Subscription.find("other")
    assert_match "add subscribes_to", assert_raises(DurableStreams::ConfigurationError) { Collecting.subscription }.message
  end

  test "a handler must process" do
    handler = Class.new(DurableStreams::Handler) { def self.name = "EmptyHandler"; subscribes_to "a" }
    assert_match "EmptyHandler must define process(event)", assert_raises(NotImplementedError) { deliver_stream_events handler, [ 1 ], stream: "a" }.message
  end

  private
    def with_setting(name, value)
      before, DurableStreams.config[name] = DurableStreams.config[name], value
      yield
    ensure
      DurableStreams.config[name] = before
    end
end
