# frozen_string_literal: true

require "test_helper"

# Requests to the server while a page is rendered, which must not wait.
class PageRequestsTest < StubServerTestCase
  test "URL, token and offset take one request" do
    broadcast
    @server.requests.clear
    url, token, offset = DurableStreams.signed_stream_primitives("notes")

    assert_equal [ "#{DurableStreams.client_url}/notes", "00000001" ], [ url, offset ]
    assert_equal "notes", JWT.decode(token, nil, false).first["stream"]
    assert_equal %w[ HEAD ], @server.requests.map(&:verb)
    assert_equal "00000000", DurableStreams.signed_stream_primitives("created").offset
    assert_equal %w[ HEAD HEAD PUT ], @server.requests.map(&:verb)
  end

  test "a hanging server costs all pages one short attempt" do
    hanging do |tries|
      assert_error_reported(DurableStreams::ConnectionError) { assert_operator seconds { assert_page_without_offset }, :<, 1.5 }
      20.times { assert_page_without_offset }
      8.times.map { Thread.new { assert_page_without_offset } }.each(&:join)
      assert_equal 1, tries.call
    end
  end

  test "concurrent threads wait concurrently" do
    hanging { assert_operator seconds { 8.times.map { Thread.new { assert_page_without_offset } }.each(&:join) }, :<, 3 }
  end

  test "a page works while the server is unreachable" do
    @server.stop
    assert_error_reported(DurableStreams::ConnectionError) { assert_page_without_offset }
    assert_no_error_reported { assert_page_without_offset }
    get = ActionDispatch::Integration::Session.new(Rails.application)
    assert_equal 200, get.get("/posts/#{Post.create!.id}")
    assert_nil get.response.parsed_body["offset"]
  end

  test "a page works while the server is full or busy" do
    { problem(503, "starting") => DurableStreams::ConnectionError, problem(429, "slow down") => DurableStreams::ConnectionError,
      problem(507, "disk full") => DurableStreams::InsufficientStorage }.each do |answer, error|
      DurableStreams.reset_connections
      @server.script(answer)
      assert_error_reported(error) { assert_nil DurableStreams.stream_offset("notes") }
    end
  end

  test "a broadcast without Active Job costs one short attempt" do
    send_it = -> { DurableStreams.broadcast_event_briefly_to("notes", **EVENT) }
    assert_equal send_it.call, @server.events("notes").sole["headers"]["txid"]
    hanging do |tries|
      assert_operator seconds { assert_raises(DurableStreams::ConnectionError, &send_it) }, :<, 1.5
      3.times { assert_match "is not tried again", assert_raises(DurableStreams::ConnectionError, &send_it).message }
      assert_nil DurableStreams.stream_offset("notes")
      assert_equal 1, tries.call
    end
  end

  test "one thread tries again after the pause" do
    breaker = DurableStreams::Rails::CircuitBreaker.new(pause: 5)
    clock = 100
    Process.stub(:clock_gettime, ->(*) { clock }) do
      assert breaker.allow?
      breaker.open
      assert_not breaker.allow?
      clock = 105
      assert_equal [ true, false, false ], 3.times.map { breaker.allow? }
      clock = 110
      assert breaker.allow?
      breaker.close
      assert breaker.allow?
      breaker.open(retry_after: 30)
      clock = 135
      assert_not breaker.allow?
      clock = 140
      assert breaker.allow?
      breaker.open(retry_after: 86_400)
      clock = 200
      assert breaker.allow?
    end
  end

  test "pages use the server again when it recovers" do
    configure(page_retry_interval: 0)
    @server.script(problem(503, "starting"))
    assert_nil DurableStreams.stream_offset("notes")
    assert_equal "00000000", DurableStreams.stream_offset("notes")
  end

  test "idle connections that the server has closed are no failure" do
    3.times.map { Thread.new { DurableStreams.stream_offset("notes") } }.each(&:join)
    @server.close_connections
    assert_no_error_reported { 3.times { assert_equal "00000000", DurableStreams.stream_offset("notes") } }
  end

  test "jobs still retry while pages fail fast" do
    @server.script(:drop, :drop)
    assert_nil DurableStreams.stream_offset("notes")
    @server.script(problem(503, "starting"), problem(503, "starting"))
    assert broadcast
  end

  test "a signed URL creates a lost stream when the cache entry is old" do
    DurableStreams.signed_stream_url("notes")
    DurableStreams.signed_stream_url("notes")
    assert_equal %w[ PUT ], @server.requests.map(&:verb)
    @server.lose_streams
    clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    Process.stub(:clock_gettime, clock + 61) { DurableStreams.signed_stream_url("notes") }
    assert @server.streams.key?("/v1/streams/notes")
    @server.lose_streams
    DurableStreams.signed_stream_primitives("notes")
    assert @server.streams.key?("/v1/streams/notes")
  end

  private
    # Yields a proc that counts the connections so far.
    def hanging
      server = TCPServer.new("127.0.0.1", 0)
      configure(server_url: "http://127.0.0.1:#{server.addr[1]}/v1/streams", page_timeout: 0.1)
      yield -> { 100.times.take_while { server.accept_nonblock(exception: false) != :wait_readable }.size }
    ensure
      server.close
    end

    def assert_page_without_offset
      assert_match "/notes?token=", DurableStreams.signed_stream_url("notes")
      assert_nil DurableStreams.stream_offset("notes")
      primitives = DurableStreams.signed_stream_primitives("notes")
      assert_nil primitives.offset
      assert_predicate primitives.token, :present?
    end

    def seconds
      started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      yield
      Process.clock_gettime(Process::CLOCK_MONOTONIC) - started
    end
end
