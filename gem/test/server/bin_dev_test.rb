# frozen_string_literal: true

require "generated_helper"
require "active_support/core_ext/object/blank"
require "json"
require "net/http"
require "socket"
require_relative "../support/real_server"

# From `rails new` to a reader's first event, without manual edits.
class BinDevTest < ActiveSupport::TestCase
  setup do
    @binary = RealServer.binary
    @app = GeneratedApp.create
    2.times { @app.run("bin/rails", "generate", "durable_streams:install") }
    @web_port, @streams_port = 2.times.map { TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] } }
    # The default ports may be in use here.
    @env = { "DURABLE_STREAMS_BINARY" => @binary, "PORT" => @web_port.to_s, "DURABLE_STREAMS_PORT" => @streams_port.to_s }
  end

  teardown do
    stop
    @app&.delete
  end

  test "bin/dev runs web and streams, and a signed URL from the console reads" do
    @app.run("bin/rails", "generate", "model", "Post", "title")
    @app.write "app/models/post.rb", "class Post < ApplicationRecord\n  streams\nend\n"
    @app.run("bin/rails", "db:migrate")
    @dev = @app.spawn("bin/dev", env: @env, out: @app.expand("tmp/dev.log"))
    wait_for @web_port, "/up"
    wait_for @streams_port, "/readyz"

    url = @app.evaluate(<<~RUBY, env: @env)
      ActiveJob::Base.queue_adapter = :inline
      post = Post.create!(title: "Hello")
      post.update!(title: "Goodbye")
      puts DurableStreams.signed_stream_url(post)
    RUBY
    events = JSON.parse(Net::HTTP.get(URI(url)))

    assert_equal [ %w[ insert Hello ], %w[ update Goodbye ] ], events.map { |event| [ event["headers"]["operation"], event["value"]["title"] ] }
    assert_match "agree", @app.run("bin/rails", "durable_streams:check", env: @env)

    # The app in the test environment reaches this server but cannot write to it.
    refused = @app.run("bin/rails", "runner", "DurableStreams.broadcast_to(\"a\", type: \"x\", key: 1, value: 1, headers: { operation: \"insert\" })",
      env: { **@env, "RAILS_ENV" => "test" }, expect_success: false)
    assert_match "token_issuer is \"test\" and must be the server's auth.issuer", refused

    stop
    @dev = @app.spawn("bin/dev", env: @env, out: @app.expand("tmp/dev.log"))
    wait_for @streams_port, "/readyz"
    assert_equal events, JSON.parse(Net::HTTP.get(URI(url))), "streams outlive the server"
  end

  private
    def stop
      if @dev
        Process.kill :INT, -@dev
        Process.wait @dev
        @dev = nil
      end
    end

    def wait_for(port, path)
      400.times do
        return if Net::HTTP.get_response("127.0.0.1", path, port).code == "200"
      rescue SystemCallError
        sleep 0.1
      end
      flunk "nothing answers on port #{port}:\n#{@app.read("tmp/dev.log")}"
    end
end
