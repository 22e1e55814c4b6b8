# frozen_string_literal: true

require "generated_helper"

class HandlerGeneratorTest < ActiveSupport::TestCase
  teardown { @app&.delete }

  test "a handler with its test, its route and its process" do
    @app = GeneratedApp.create("--minimal")
    @app.write "Procfile.dev", "web: bin/rails server"
    @app.write "app/models/room.rb", "class Room\n  include GlobalID::Identification\n  attr_accessor :id\n  def self.find(id) = new.tap { |room| room.id = id }\nend\n"
    before = @app.snapshot

    output = generate("chat/room_messages", "Room", "messages")
    assert_match(/^class Chat::RoomMessagesHandler < DurableStreams::Handler\n  subscribes_to Room, :messages\n/, @app.read("app/handlers/chat/room_messages_handler.rb"))
    assert_match "deliver_stream_events Chat::RoomMessagesHandler, [ event ], stream: [ rooms(:one), :messages ]", @app.read("test/handlers/chat/room_messages_handler_test.rb")
    assert_match "Next: bin/rails durable_streams:subscriptions:sync, while the server runs.", output
    generate("presence_handler", "presence/**", "--via=worker")
    assert_match 'class PresenceHandler < DurableStreams::Handler', @app.read("app/handlers/presence_handler.rb")
    assert_match 'subscribes_to "presence/**", via: :worker', @app.read("app/handlers/presence_handler.rb")
    generate("other", "--via=worker")
    assert_match 'subscribes_to "other/**", via: :worker', @app.read("app/handlers/other_handler.rb")
    generate("more", "Room")

    assert_equal "web: bin/rails server\nhandlers: bin/rails durable_streams:work\n", @app.read("Procfile.dev")
    assert_equal 1, @app.read("config/routes.rb").scan('mount DurableStreams::Engine => "/durable_streams"').size
    assert_match "is either already used", generate("presence", expect_success: false)

    @app.write "test/handlers/chat/room_messages_handler_test.rb", @app.read("test/handlers/chat/room_messages_handler_test.rb").gsub("  # ", "  ").sub("rooms(:one)", "Room.find(1)")
    assert_match "1 runs, 0 assertions, 0 failures, 0 errors", @app.run("bin/rails", "test")
    assert_equal "blog-chat.room-messages blog-more blog-other blog-presence\n/durable_streams/webhook",
      @app.evaluate('puts DurableStreams::Rails::Subscription.all.map(&:id).join(" "), DurableStreams::Engine.routes.url_helpers.webhook_path(script_name: "/durable_streams")')

    %w[ chat/room_messages presence other more ].each { |name| @app.run("bin/rails", "destroy", "durable_streams:handler", name) }
    changed = @app.snapshot.reject { |path, content| before[path] == content }
    assert_equal %w[ Gemfile.lock Procfile.dev config/routes.rb ], changed.keys.sort
  end

  test "the tasks say what is missing" do
    @app = GeneratedApp.create("--minimal")
    assert_match "durable_streams:subscriptions:sync: no handler has subscribes_to", sync(expect_success: false)

    @app.run("bin/rails", "generate", "durable_streams:install")
    generate("room_messages", "messages")
    assert_match "RoomMessagesHandler needs Active Job", sync(expect_success: false), "a minimal app has none"
    assert_match "Other is not a handler with subscribes_to", sync(env: { "HANDLER" => "Other" }, expect_success: false)
    @app.run("bin/rails", "destroy", "durable_streams:handler", "room_messages")
    generate("room_messages", "messages", "--via=worker")
    assert_match(/cannot be reached.*Is it running/, sync(env: { "DURABLE_STREAMS_PORT" => "1" }, expect_success: false))
  end

  private
    def generate(*arguments, **options)
      @app.run("bin/rails", "generate", "durable_streams:handler", *arguments, **options)
    end

    def sync(**options)
      @app.run("bin/rails", "durable_streams:subscriptions:sync", **options)
    end
end
