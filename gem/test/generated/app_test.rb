# frozen_string_literal: true

require "generated_helper"

class AppTest < ActiveSupport::TestCase
  # The example test of the documentation.
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

  test "a full app has keys, a console and passing tests" do
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
    assert_match "was not replaced", app.run("bin/rails", "durable_streams:generate_keys")
    assert_equal keys, [ app.read("config/keys/signing_key.pem"), app.read("config/keys/verify_key.pem") ]
    production = app.run("bin/rails", "durable_streams:generate_keys", "FOR=production")
    assert_match(/^durable_streams:\n  signing_key: \|\n    -----BEGIN PRIVATE KEY-----/, production)
    assert_match "BEGIN PUBLIC KEY", app.read("config/durable_streams_verify_key.pem")
    assert_match "was not replaced", app.run("bin/rails", "durable_streams:generate_keys", "FOR=production", expect_success: false)
    assert_match "signing_kid: \"2026\"", app.run("bin/rails", "durable_streams:generate_keys", "FOR=production", "KID=2026")
    assert_match "BEGIN PUBLIC KEY", app.read("config/durable_streams_verify_keys/2026.pem")

    claims = app.evaluate(%(require "jwt"; puts JWT.decode(DurableStreams.signed_stream_primitives("a").token, OpenSSL::PKey.read(File.read("config/keys/verify_key.pem")), true, algorithm: "ES256").first.slice("iss", "aud").to_json))
    assert_equal %({"iss":"http://localhost:3000","aud":"http://localhost:4437/v1/streams"}), claims.lines.last
    settings = app.evaluate("puts Rails.application.config_for(:durable_streams).to_json")
    assert_equal({ "verify_key" => "config/keys/verify_key.pem", "issuer" => "http://localhost:3000", "audience" => "http://localhost:4437/v1/streams" }, JSON.parse(settings)["auth"])

    File.chmod 0o644, app.expand("config/keys/signing_key.pem")
    app.run("bin/rails", "durable_streams:generate_keys", "FORCE=1")
    assert_not_equal keys.first, app.read("config/keys/signing_key.pem")
    assert_equal 0o600, File.stat(app.expand("config/keys/signing_key.pem")).mode & 0o777
    assert_match "must be a file name", app.run("bin/rails", "durable_streams:generate_keys", "FOR=production", "KID=../x", expect_success: false)

    check = app.run("bin/rails", "durable_streams:check", env: { "DURABLE_STREAMS_PORT" => "9" }, expect_success: false)
    assert_match "http://localhost:9/v1/streams cannot be reached", check
    assert_equal 1, check.scan("durable_streams:check:").size
    in_production = { "DURABLE_STREAMS_PORT" => "9", "DURABLE_STREAMS_CLIENT_URL" => "https://a.example.com/v1/streams", "RAILS_ENV" => "production", "SECRET_KEY_BASE" => "x" }
    check = app.run("bin/rails", "durable_streams:check", env: in_production, expect_success: false)
    assert_match "signing_key is not set", check
    assert_equal 1, check.scan("durable_streams:check:").size
    on_one_line = app.read("config/keys/signing_key.pem").gsub("\n", "\\n")
    check = app.run("bin/rails", "durable_streams:check", env: { **in_production, "DURABLE_STREAMS_SIGNING_KEY" => on_one_line }, expect_success: false)
    assert_match "auth.verify_key (config/durable_streams_verify_key.pem) does not contain the public key", check
    File.delete app.expand("config/durable_streams_verify_key.pem")
    check = app.run("bin/rails", "durable_streams:check", env: { **in_production, "DURABLE_STREAMS_SIGNING_KEY" => on_one_line }, expect_success: false)
    assert_match "does not exist: bin/rails durable_streams:generate_keys FOR=production creates it", check
  ensure
    app&.delete
  end

  test "each environment has its address, its issuer and its key" do
    app = GeneratedApp.create("--minimal")
    app.run("bin/rails", "generate", "durable_streams:install")
    app.run("bin/rails", "durable_streams:generate_keys")
    production = app.run("bin/rails", "durable_streams:generate_keys", "FOR=production")[/^durable_streams:.*/m]
    app.write "tmp/credentials.yml", production
    app.run("bin/rails", "credentials:edit", env: { "EDITOR" => "cp tmp/credentials.yml" })

    show = <<~RUBY
      settings = DurableStreams.config
      auth = Rails.application.config_for(:durable_streams)[:auth]
      verify_key = OpenSSL::PKey.read(File.read(auth[:verify_key]))
      puts [ DurableStreams.client_url, DurableStreams.server_url, Rails.application.config_for(:durable_streams)[:port],
        settings.token_issuer == auth[:issuer], (settings.token_audience || DurableStreams.client_url) == auth[:audience],
        DurableStreams::Rails::SigningKey.parse(settings.signing_key).public_to_der == verify_key.public_to_der ].join(" ")
    RUBY
    in_production = { "RAILS_ENV" => "production", "RAILS_MASTER_KEY" => app.read("config/master.key"), "SECRET_KEY_BASE" => "x" * 64 }
    assert_equal "http://localhost:4437/v1/streams http://localhost:4437/v1/streams 4437 true true true", app.evaluate(show).lines.last
    assert_equal "http://localhost:4438/v1/streams http://localhost:4438/v1/streams 4438 true true true", app.evaluate(show, env: { "RAILS_ENV" => "test" }).lines.last
    assert_equal "http://localhost:5000/v1/streams http://localhost:5000/v1/streams 5000 true true true", app.evaluate(show, env: { "DURABLE_STREAMS_PORT" => "5000" }).lines.last
    assert_equal "http://localhost:4437/v1/streams http://localhost:4437/v1/streams 4437 true true true", app.evaluate(show, env: in_production).lines.last
    client_url = "https://a.example.com/v1/streams"
    assert_equal "#{client_url} http://localhost:4437/v1/streams 4437 true true true", app.evaluate(show, env: { **in_production, "DURABLE_STREAMS_CLIENT_URL" => client_url }).lines.last
    assert_not_equal app.evaluate("puts DurableStreams.config.token_issuer"), app.evaluate("puts DurableStreams.config.token_issuer", env: { "RAILS_ENV" => "test", "DURABLE_STREAMS_ISSUER" => "http://localhost:3000" })
  ensure
    app&.delete
  end

  test "seeds, runners and consoles broadcast before they exit" do
    app = GeneratedApp.create
    app.run("bin/rails", "generate", "durable_streams:install")
    app.run("bin/rails", "generate", "model", "Post", "title")
    app.write "app/models/post.rb", "class Post < ApplicationRecord\n  streams\nend\n"
    app.run("bin/rails", "db:migrate")
    report = <<~RUBY
      ActiveSupport::Notifications.subscribe("perform_start.active_job") { |event| File.write("tmp/performed", "\#{event.payload[:job].class}\n", mode: "a") }
      DurableStreams::Rails::Testing.enable!
      Post.create!(title: "A")
    RUBY
    app.write "db/seeds.rb", report
    app.run("bin/rails", "db:seed")
    app.run("bin/rails", "runner", report)
    app.run("bin/rails", "console", input: report)
    assert_equal [ "DurableStreams::Rails::BroadcastJob\n" ] * 3, File.readlines(app.expand("tmp/performed"))
    assert_equal "async", app.evaluate("puts ActiveJob::Base.queue_adapter_name").lines.last
  ensure
    app&.delete
  end

  test "a cloned app generates keys for its first token" do
    app = GeneratedApp.create("--minimal")
    app.run("bin/rails", "generate", "durable_streams:install")
    assert_equal "", app.run("bin/rails", "runner", "1").lines.grep(/durable_streams/).join
    assert_not app.exist?("config/keys")
    assert_match "generated config/keys/signing_key.pem", app.run("bin/rails", "runner", "3.times.map { Thread.new { DurableStreams.token_signer.server_token } }.each(&:join)")
    assert_equal 0o600, File.stat(app.expand("config/keys/signing_key.pem")).mode & 0o777
    keys = app.read("config/keys/signing_key.pem")

    File.delete app.expand("config/keys/verify_key.pem")
    assert_match "was not replaced", app.run("bin/rails", "durable_streams:generate_keys")
    assert_equal OpenSSL::PKey.read(keys).public_to_pem, app.read("config/keys/verify_key.pem")
  ensure
    app&.delete
  end

  test "a setting that does not exist stops the boot" do
    app = GeneratedApp.create("--minimal")
    app.write "config/initializers/streams.rb", "Rails.application.config.durable_streams.server_ulr = \"http://10.0.0.5\"\n"
    output = app.run("bin/rails", "runner", "1", expect_success: false)
    assert_match "config.durable_streams.server_ulr is not a setting. Did you mean server_url?", output
    app.write "config/initializers/streams.rb", "Rails.application.config.durable_streams.server_url = \"http://10.0.0.5/\"\n"
    assert_equal "http://10.0.0.5", app.evaluate("puts DurableStreams.server_url")

    app.run("bin/rails", "generate", "durable_streams:install")
    app.write "config/environments/development.rb", app.read("config/environments/development.rb")
      .sub(/^end$/, "  config.durable_streams.client_url = \"https://a.example.com/v1/streams\"\n  config.durable_streams.token_issuer = \"mine\"\nend")
    File.delete app.expand("config/initializers/streams.rb")
    assert_equal "https://a.example.com/v1/streams http://localhost:4437/v1/streams mine",
      app.evaluate("puts [ DurableStreams.client_url, DurableStreams.server_url, DurableStreams.config.token_issuer ].join(\" \")").lines.last
  ensure
    app&.delete
  end

  test "a minimal app without Active Job loads eagerly and broadcasts" do
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

  test "an app without Active Record broadcasts" do
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
