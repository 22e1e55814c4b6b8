# frozen_string_literal: true

require "test_helper"

# Errors that an app developer meets.
class FailureTest < RealServerTestCase
  include ActiveJob::TestHelper

  test "a record is saved while the server is down, and its event arrives once" do
    start_server
    configure(retry_timeout: 0)
    post = Post.create!(title: "Post")
    perform_enqueued_jobs { post.comments.create!(body: "before") }
    @server.stop :KILL

    comment = post.comments.create!(body: "during")
    assert_predicate comment, :persisted?
    3.times { perform_enqueued_jobs }
    assert_equal 1, enqueued_jobs.size

    @server.start
    perform_enqueued_jobs
    perform_enqueued_jobs { post.comments.create!(body: "after") }
    assert_equal %w[ before during after ], DurableStreams.read_stream(post).map { |event| event["value"]["body"] }
  end

  test "no event is lost or repeated when the server is killed" do
    start_server
    sent, progress = [], Queue.new
    killer = Thread.new do
      3.times do
        10.times { progress.pop }
        @server.stop(:KILL)
        @server.start
      end
    end
    until killer.join(0)
      job = DurableStreams.build_broadcast_event_to("notes", type: "note", key: sent.size, value: 1, operation: :insert)
      sent << sent.size.to_s
      job.perform_now
      while enqueued_jobs.any?
        sleep 0.05 # The server is a real process, and takes its time to start.
        perform_enqueued_jobs
      end
      progress << sent.size
    end

    assert_operator sent.size, :>=, 30
    assert_equal sent, keys_of
  end

  test "a server that is away for two seconds fails no request" do
    start_server
    broadcast(key: "0")
    @server.stop
    back = Thread.new do
      sleep 2 # The gap itself.
      @server.start
    end
    assert_match "?token=", DurableStreams.signed_stream_url("notes")
    assert_nothing_raised { DurableStreams.stream_offset("notes") }
    3.times.map { |at| Thread.new { broadcast(key: (at + 1).to_s) } }.each(&:join)
    back.join

    assert_equal %w[ 0 1 2 3 ], keys_of.sort
  end

  test "a stream that a memory server lost with its restart is created again" do
    start_server storage: {}
    broadcast
    @server.stop
    @server.start
    broadcast(key: "2")

    assert_equal [ "2" ], keys_of
  end

  test "a key that the server does not have is named" do
    start_server
    configure signing_key: OpenSSL::PKey::EC.generate("prime256v1")
    assert_equal [ 401, "unauthorized" ], assert_raises(DurableStreams::Unauthorized) { broadcast }.then { |error| [ error.status, error.code ] }
    assert_match "auth.verify_key must be", assert_raises(DurableStreams::Unauthorized) { DurableStreams.stream_metadata("notes") }.message, "for HEAD too"

    assert_refused DurableStreams::Unauthorized, "auth.verify_key must be the public key of config.durable_streams.signing_key"
  end

  test "an issuer and an audience that the server does not accept are named" do
    start_server
    configure token_issuer: "https://elsewhere.example.com"
    assert_refused DurableStreams::Unauthorized, "token_issuer is \"https://elsewhere.example.com\" and must be the server's auth.issuer"

    configure token_issuer: RealServer::ISSUER, token_audience: "elsewhere"
    assert_refused DurableStreams::Unauthorized, "token_audience is \"elsewhere\" and must be the server's auth.audience"
  end

  test "clocks that differ are suspected" do
    start_server
    travel_to(10.minutes.ago) { assert_refused DurableStreams::Unauthorized, "Do the clocks of this machine and of the server agree?" }
    travel_to(10.minutes.from_now) { assert_refused DurableStreams::Unauthorized, "Do the clocks of this machine and of the server agree?" }
    travel_to(3.seconds.from_now) { assert broadcast }
  end

  test "a machine that is not in allowed_ips is told so" do
    start_server allowed_ips: [ "10.9.9.9" ]
    assert_refused DurableStreams::Forbidden, "Is this machine in internal.allowed_ips of the server's configuration?"
  end

  test "a full stream refuses events and stays readable" do
    start_server limits: { max_stream_bytes: 2_000 }
    error = assert_raises(DurableStreams::PayloadTooLarge) { 50.times { broadcast(value: { body: "x" * 100 }) } }

    assert_match "answered 413", error.message
    assert_match "limits.max_stream_bytes", error.message
    assert_operator keys_of.size, :>, 5
  end

  test "a full server refuses events" do
    start_server storage: {}, limits: { max_memory_bytes: 20_000 }
    error = assert_raises(DurableStreams::InsufficientStorage) { 200.times { |at| broadcast("notes/#{at}", value: { body: "x" * 1_000 }) } }

    assert_match "answered 507", error.message
    assert_match "no room left", error.message
  end

  test "keys are rotated without a restart" do
    start_server
    old, new = DurableStreams.config.signing_key, OpenSSL::PKey::EC.generate("prime256v1")
    @server.write_keys [ old, new ].map(&:public_to_pem)
    @server.signal :HUP
    broadcast(key: "old")
    configure signing_key: new
    eventually { broadcast(key: "new") }

    assert_equal %w[ old new ], keys_of
  end

  private
    # The server reads its keys in the background.
    def eventually
      attempts ||= 0
      yield
    rescue DurableStreams::Unauthorized
      raise if (attempts += 1) > 20
      sleep 0.1
      retry
    end

    def assert_refused(error_class, advice)
      DurableStreams.reset_connections
      error = assert_raises(error_class) { broadcast }
      assert_match "#{@server.internal_url}/notes answered #{error.status}: ", error.message
      assert_match advice, error.message
    end
end
