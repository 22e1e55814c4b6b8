# frozen_string_literal: true

require "generated_helper"

class AppTest < ActiveSupport::TestCase
  # The test of the gem's document, word for word, in an app as Rails makes it.
  COMMENT_TEST = <<~RUBY
    require "test_helper"

    class CommentTest < ActiveSupport::TestCase
      setup { @post = Post.create! }

      test "creating comment streams to post" do
        assert_stream_broadcasts @post, count: 1 do
          @post.comments.create!(body: "Hello")
        end
      end

      test "capture stream events" do
        events = capture_stream_broadcasts @post do
          @post.comments.create!(body: "Hello")
        end

        assert_equal "insert", events.first["headers"]["operation"]
        assert_equal "Hello", events.first["value"]["body"]
      end

      test "no broadcasts when suppressed" do
        assert_no_stream_broadcasts @post do
          Comment.suppressing_streams do
            @post.comments.create!(body: "Silent")
          end
        end
      end

      test "signs without keys" do
        assert_match "/gid://blog/Post/\#{@post.id}?token=", DurableStreams.signed_stream_url(@post)
      end
    end
  RUBY

  test "an app with everything: keys, console, its own tests" do
    app = GeneratedApp.create
    app.run("bin/rails", "generate", "durable_streams:install")
    app.run("bin/rails", "generate", "model", "Post", "title")
    app.run("bin/rails", "generate", "model", "Comment", "post:belongs_to", "body")
    app.write "app/models/post.rb", "class Post < ApplicationRecord\n  has_many :comments\nend\n"
    app.write "app/models/comment.rb", "class Comment < ApplicationRecord\n  belongs_to :post\n  streams_to :post\nend\n"
    app.write "test/models/comment_test.rb", COMMENT_TEST
    app.write "test/fixtures/posts.yml", ""
    app.write "test/fixtures/comments.yml", ""
    app.run("bin/rails", "db:migrate")
    assert_match "4 runs, 6 assertions, 0 failures, 0 errors", app.run("bin/rails", "test")
    assert_match "4 runs, 6 assertions, 0 failures, 0 errors", app.run("bin/rails", "test", env: { "CI" => "1" })

    assert_match "bin/dev is ready", app.run("bin/rails", "durable_streams:generate_keys")
    keys = [ app.read("config/keys/signing_key.pem"), app.read("config/keys/verify_key.pem") ]
    assert_equal 0o600, File.stat(app.expand("config/keys/signing_key.pem")).mode & 0o777
    assert_match "left alone", app.run("bin/rails", "durable_streams:generate_keys")
    assert_equal keys, [ app.read("config/keys/signing_key.pem"), app.read("config/keys/verify_key.pem") ]
    production = app.run("bin/rails", "durable_streams:generate_keys", "FOR=production")
    assert_match(/^durable_streams:\n  signing_key: \|\n    -----BEGIN PRIVATE KEY-----/, production)
    assert_match "BEGIN PUBLIC KEY", app.read("config/durable_streams_verify_key.pem")
    assert_match "left alone", app.run("bin/rails", "durable_streams:generate_keys", "FOR=production", expect_success: false)
    assert_match "signing_kid: \"2026\"", app.run("bin/rails", "durable_streams:generate_keys", "FOR=production", "KID=2026")
    assert_match "BEGIN PUBLIC KEY", app.read("config/durable_streams_verify_keys/2026.pem")

    claims = app.evaluate(%(require "jwt"; puts JWT.decode(DurableStreams.signed_stream_primitives("a").token, OpenSSL::PKey.read(File.read("config/keys/verify_key.pem")), true, algorithm: "ES256").first.slice("iss", "aud").to_json))
    assert_equal %({"iss":"http://localhost:3000","aud":"http://localhost:4437/v1/streams"}), claims.lines.last
    settings = app.evaluate("puts Rails.application.config_for(:durable_streams).to_json")
    assert_equal({ "verify_key" => "config/keys/verify_key.pem", "issuer" => "http://localhost:3000", "audience" => "http://localhost:4437/v1/streams" }, JSON.parse(settings)["auth"])

    check = app.run("bin/rails", "durable_streams:check", env: { "DURABLE_STREAMS_SERVER_URL" => "http://127.0.0.1:9/v1/streams" }, expect_success: false)
    assert_match "http://127.0.0.1:9/v1/streams cannot be reached", check
    assert_equal 1, check.scan("durable_streams:check:").size
    check = app.run("bin/rails", "durable_streams:check", env: { "DURABLE_STREAMS_SERVER_URL" => "http://127.0.0.1:9/v1/streams", "RAILS_ENV" => "production", "SECRET_KEY_BASE" => "x" }, expect_success: false)
    assert_match "auth.verify_key (config/durable_streams_verify_key.pem) does not hold the public half", check
  ensure
    app&.delete
  end

  test "a minimal app, without Active Job, eager loaded" do
    app = GeneratedApp.create("--minimal")
    app.run("bin/rails", "generate", "durable_streams:install")
    app.run("bin/rails", "durable_streams:generate_keys")
    app.run("bin/rails", "generate", "model", "Board", "name")
    app.write "app/models/board.rb", "class Board < ApplicationRecord\n  streams\nend\n"
    app.run("bin/rails", "db:migrate")

    output = app.evaluate(<<~RUBY)
      Rails.application.eager_load!
      DurableStreams::Rails::Testing.enable!
      board = Board.suppressing_streams { Board.create!(name: "A") }
      board.stream_insert
      puts DurableStreams::Rails::Testing.broadcasts("gid://blog/Board/1").size
      begin
        board.stream_update_later
      rescue => error
        puts error.message
      end
      board.update!(name: "B")
      board.destroy!
      puts DurableStreams::Rails::Testing.broadcasts("gid://blog/Board/1").map { |event| event["headers"]["operation"] }.join(",")
    RUBY
    assert_equal "1", output.lines.first.chomp
    assert_match "needs Active Job", output
    assert_equal "insert,update,delete", output.lines.last

    saved = app.evaluate(<<~RUBY, env: { "DURABLE_STREAMS_SERVER_URL" => "http://127.0.0.1:9/v1/streams" })
      puts Board.create!(name: "Saved").persisted?
    RUBY
    assert_equal "true", saved
  ensure
    app&.delete
  end

  test "an app without Active Record" do
    app = GeneratedApp.create("--minimal", "--skip-active-record")
    app.run("bin/rails", "generate", "durable_streams:install")
    output = app.evaluate(<<~RUBY)
      Rails.application.eager_load!
      DurableStreams::Rails::Testing.enable!
      DurableStreams.broadcast_to("room", :presence, type: "presence", key: "1", value: {}, headers: { operation: "insert" })
      puts DurableStreams.read_stream("room", :presence).size, defined?(ActiveRecord).inspect
    RUBY
    assert_equal %w[ 1 nil ], output.lines.map(&:chomp)
  ensure
    app&.delete
  end
end
