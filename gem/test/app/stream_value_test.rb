# frozen_string_literal: true

require "test_helper"

class StreamValueTest < ActiveSupport::TestCase
  SECRETS = { nickname: "n", ssn: "123", password_digest: "x", auth_token: "t", token: "t", api_key: "k", encrypted_pin: "1", passwd: "p", avatar: "\xFF\x00".b }.freeze

  setup { @post = Post.create!(title: "Post") }

  test "secret, filtered, encrypted and binary attributes are withheld" do
    account = nil
    capture = -> { account = Account.create!(name: "A", tokenizer: "bpe", **SECRETS) }
    events = capture_all(&capture)

    assert_equal({ "id" => account.id, "name" => "A", "tokenizer" => "bpe" }, events.first["value"])
    assert_equal({ "id" => account.id, "name" => "A", "tokenizer" => "bpe" }, account.to_stream_value)
  end

  test "the log lists withheld attributes once" do
    io = StringIO.new
    was, Rails.logger = Rails.logger, ActiveSupport::Logger.new(io)
    model = model_with(Account) { self.filter_attributes = [] }
    2.times { model.new.to_stream_value }
    assert_equal 1, io.string.scan("without password_digest, auth_token, token, api_key, encrypted_pin, passwd, and avatar").size
  ensure
    Rails.logger = was
  end

  { public: 1, protected: 2, private: 3 }.each_key do |visibility|
    test "a #{visibility} to_stream_value is sent" do
      model = model_with(Comment) do
        def to_stream_value = { "mine" => id, "secret" => "sent" }
        send(visibility, :to_stream_value)
      end
      comment = model.suppressing_streams { model.create!(post: @post, body: "x") }
      sent = [
        capture_stream_broadcasts("a") { comment.stream_update_to("a") },
        capture_stream_broadcasts("a") { comment.stream_update_later_to("a") },
        capture_stream_broadcasts("a") { DurableStreams.broadcast_to("a", type: "c", key: 1, value: comment) },
        capture_stream_broadcasts("a") { DurableStreams.broadcast_event_later_to("a", type: "c", key: 1, value: comment, operation: :update) }
      ]
      assert_equal [ { "mine" => comment.id, "secret" => "sent" } ] * 4, sent.map { |events| events.sole["value"] }
    end
  end

  test "records nested in a value are sent as their values" do
    account = Account.suppressing_streams { Account.create!(name: "A", **SECRETS) }
    safe = { "id" => account.id, "name" => "A", "tokenizer" => nil }
    author = Struct.new(:account) { private def to_stream_value = { by: account } }.new(account)
    {
      account => safe, [ account ] => [ safe ], { a: { "b" => [ account ] } } => { "a" => { "b" => [ safe ] } },
      Set[ account ] => [ safe ], Account.where(id: account.id) => [ safe ], author => { "by" => safe }, [ author ] => [ { "by" => safe } ],
      [ 1, nil, :a, Time.utc(2026) ] => [ 1, nil, "a", "2026-01-01T00:00:00.000Z" ]
    }.each do |value, sent|
      event = { type: "c", key: 1, value: value, operation: :upsert, headers: { value: value } }
      events = capture_stream_broadcasts("a") { DurableStreams.broadcast_event_to("a", **event); DurableStreams.broadcast_event_later_to("a", **event, headers: nil) }
      assert_equal [ sent ] * 3, events.pluck("value") + [ events.first["headers"]["value"] ]
    end
  end

  test "objects other than records can have a private to_stream_value" do
    object = Class.new { private def to_stream_value = { "mine" => 1 } }.new
    event, = capture_stream_broadcasts("a") { DurableStreams.broadcast_event_to("a", type: "c", key: 1, value: object, operation: :upsert) }
    assert_equal({ "mine" => 1 }, event["value"])
    event, = capture_stream_broadcasts("a") { DurableStreams.broadcast_event_later_to("a", type: "c", key: 1, value: object, operation: :upsert) }
    assert_equal({ "mine" => 1 }, event["value"])
  end

  test "only: and except: apply to declarations, jobs and methods" do
    only = model_with(Comment) { streams "only", only: %i[ id body ] }
    except = model_with(Comment) { streams "except", except: :body }
    mine = model_with(Comment) do
      streams "mine", only: :a
      private def to_stream_value = { a: 1, b: 2 }
    end

    assert_equal %w[ body id ], capture_stream_broadcasts("only") { only.create!(body: "x") }.sole["value"].keys.sort
    assert_not_includes capture_stream_broadcasts("except") { except.create!(body: "x") }.sole["value"], "body"
    assert_equal({ "a" => 1 }, capture_stream_broadcasts("mine") { mine.create!(body: "x") }.sole["value"])

    comment = Comment.suppressing_streams { @post.comments.create!(body: "x") }
    assert_equal %w[ body ], capture_stream_broadcasts("a") { comment.stream_update_to("a", only: :body) }.sole["value"].keys
    assert_equal %w[ body ], capture_stream_broadcasts("a") { comment.stream_update_later_to("a", only: :body) }.sole["value"].keys
  end

  test "a secret attribute is sent if it is listed" do
    account = Account.suppressing_streams { Account.create!(name: "A", **SECRETS) }
    event, = capture_stream_broadcasts("a") { account.stream_update_to("a", only: %i[ id token ]) }
    assert_equal({ "id" => account.id, "token" => "t" }, event["value"])
  end

  private
    def model_with(parent, &block)
      model = Class.new(ApplicationRecord) do
        self.table_name = parent.table_name
        belongs_to :post, optional: true
      end
      self.class.const_set("Model#{model.object_id}", model)
      model.class_eval(&block)
      model
    end

    def capture_all
      events = []
      ActiveSupport::Notifications.subscribed(->(*, payload) { events << payload[:event] }, "broadcast.durable_streams") do
        DurableStreams::Rails::Testing.performing_jobs { yield }
      end
      events
    end
end
