# frozen_string_literal: true

require "test_helper"

class HttpTransportTest < StubServerTestCase
  test "a stream is created once, and events are appended as a JSON array" do
    txid = broadcast
    broadcast

    put, *rest = @server.requests
    assert_equal [ "PUT", "/v1/streams/notes" ], [ put.verb, put.path ]
    assert_equal "application/json", put.headers["content-type"]
    assert_equal %w[ POST POST ], rest.map(&:verb)
    assert_equal [ { "type" => "note", "key" => "1", "value" => { "body" => "Hello" }, "headers" => { "operation" => "insert", "txid" => txid } } ],
      JSON.parse(rest.first.body)
  end

  test "small and large non-ASCII values are sent" do
    [ "Grüße 👋", "ü" * 100_000 ].each { |text| broadcast(value: { body: text }) }

    assert_equal [ "Grüße 👋", "ü" * 100_000 ], @server.events("notes").map { |event| event.dig("value", "body") }
  end

  test "the path of a Global ID is readable" do
    room = Room.create!(name: "A")
    broadcast([ room, "häuser & co" ])

    assert_equal "/v1/streams/gid://dummy/Room/#{room.id}/h%C3%A4user%20%26%20co", @server.requests.first.path
  end

  test "one connection and one token serve many requests" do
    10.times { broadcast }

    assert_equal 1, @server.connections
    assert_equal 1, @server.requests.map { |request| request.headers["authorization"] }.uniq.size
  end

  test "an append whose response is lost is repeated and takes effect once" do
    broadcast
    @server.script(:lose_answer)
    broadcast(key: "2")
    broadcast(key: "3")

    assert_equal %w[ 1 2 3 ], @server.events("notes").pluck("key")
    assert_equal 4, sent("POST").size
  end

  test "an append that never arrived is repeated" do
    @server.script(nil, :drop)
    broadcast

    assert_equal 1, @server.events("notes").size
  end

  test "temporary refusals are retried" do
    @server.script(problem(503, "starting"), problem(429, "slow down"))
    broadcast

    assert_equal 1, @server.events("notes").size
  end

  test "a stream that the server lost is created again" do
    broadcast
    @server.lose_streams
    broadcast(key: "2")
    broadcast(key: "3")

    assert_equal %w[ 2 3 ], @server.events("notes").pluck("key")
  end

  test "a producer that the server forgot is replaced" do
    2.times { broadcast }
    @server.streams["/v1/streams/notes"][:producers].clear
    broadcast(key: "3")
    broadcast(key: "4")

    assert_equal %w[ 1 1 3 4 ], @server.events("notes").pluck("key")
  end

  test "threads can append to the same stream" do
    8.times.map { |thread| Thread.new { 25.times { |at| broadcast(key: "#{thread}-#{at}") } } }.each(&:join)

    assert_equal 200, @server.events("notes").pluck("key").uniq.size
    assert_equal 200, @server.events("notes").size
    assert_operator @server.connections, :<=, 8
  end

  test "a failed append that took effect can be repeated later" do
    broadcast
    @server.script(:lose_answer, :drop, :drop)
    error = assert_raises(DurableStreams::ConnectionError) { broadcast(key: "2") }
    broadcast(key: "3")
    broadcast(key: "2", producer: error.producer)

    assert_equal %w[ 1 2 3 ], @server.events("notes").pluck("key")
  end

  test "a failed append that never arrived can be repeated later" do
    broadcast
    @server.script(:drop, :drop, :drop)
    error = assert_raises(DurableStreams::ConnectionError) { broadcast(key: "2") }
    broadcast(key: "2", producer: error.producer)

    assert_equal %w[ 1 2 ], @server.events("notes").pluck("key")
  end

  test "an unreachable server is named in the error" do
    @server.stop
    error = assert_raises(DurableStreams::ConnectionError) { broadcast }

    assert_match "the Durable Streams server at #{@server.url} cannot be reached", error.message
    assert_match ":#{@server.port}", error.message.split("cannot be reached").last, "the port that was tried"
    assert_no_match(/:80\b/, error.message)
    assert_match "bin/durable-streams", error.message
  end

  test "a server that does not respond times out" do
    hanging = TCPServer.new("127.0.0.1", 0)
    configure(read_timeout: 0.1, max_retries: 0, server_url: "http://127.0.0.1:#{hanging.addr[1]}/v1/streams")
    assert_raises(DurableStreams::ConnectionError) { broadcast }
  ensure
    hanging.close
  end

  test "an error names the URL, the reason and what to do" do
    {
      unauthorized("signature") => [ DurableStreams::Unauthorized, /auth.verify_key/ ],
      unauthorized("unknown-key") => [ DurableStreams::Unauthorized, /auth.verify_key/ ],
      unauthorized("issuer") => [ DurableStreams::Unauthorized, /token_issuer is "https:\/\/dummy.example.com"/ ],
      unauthorized("audience") => [ DurableStreams::Unauthorized, /token_audience is "http:\/\/localhost:4437/ ],
      unauthorized("expired") => [ DurableStreams::Unauthorized, /clocks/ ],
      unauthorized("malformed") => [ DurableStreams::Unauthorized, /answered 401: the token is bad\z/ ],
      problem(403, "no", code: "peer-not-allowed") => [ DurableStreams::Forbidden, /allowed_ips/ ],
      problem(403, "not this stream", code: "forbidden") => [ DurableStreams::Forbidden, /not this stream\z/ ],
      problem(413, "too large") => [ DurableStreams::PayloadTooLarge, /max_stream_bytes/ ],
      problem(507, "disk full", code: "full") => [ DurableStreams::InsufficientStorage, /no room/ ],
      problem(507, "too many", code: "too-many-streams") => [ DurableStreams::InsufficientStorage, /too many\z/ ],
      problem(410, "deleted") => [ DurableStreams::StreamGone, /deleted/ ],
      problem(409, "closed", "Stream-Closed" => "true") => [ DurableStreams::StreamClosed, /closed/ ],
      problem(409, "content type") => [ DurableStreams::Conflict, /content type/ ],
      problem(400, "bad", code: "bad-request") => [ DurableStreams::ResponseError, /bad/ ]
    }.each do |answer, (error_class, advice)|
      DurableStreams.reset_connections
      @server.script(nil, answer, *([ answer ] if answer.first == 401))
      error = assert_raises(error_class) { broadcast }
      assert_equal [ answer.first, JSON.parse(answer.last)["type"].split(":").last ], [ error.status, error.code ]
      assert_match "#{@server.url}/notes answered #{answer.first}: #{JSON.parse(answer.last)["detail"]}", error.message
      assert_match advice, error.message
    end
  end

  test "a refused token is replaced once" do
    broadcast
    @server.script(problem(401, "unknown key"))
    broadcast

    assert_equal 2, @server.events("notes").size
    assert_equal 2, sent("POST").last(2).map { |request| request.headers["authorization"] }.uniq.size
  end

  test "a stream with another configuration is not changed" do
    @server.script(problem(409, "closed", "Stream-Closed" => "true"))
    assert_match "/notes?token=", DurableStreams.signed_stream_url("notes")
  end

  test "all pages are read" do
    5.times { |at| broadcast(key: at.to_s) }
    events = DurableStreams.read_stream("notes")

    assert_equal %w[ 0 1 2 3 4 ], events.map { |event| event["key"] }
    assert_equal "00000005", events.offset
    assert_not events.closed?
    assert_equal %w[ 3 4 ], DurableStreams.read_stream("notes", offset: "00000003").pluck("key")
    assert_empty DurableStreams.read_stream("notes", offset: "00000005")
    assert_empty DurableStreams.read_stream("never created")
  end

  test "a stream without JSON messages raises and is not retried" do
    [ [ { "Content-Type" => "text/plain" }, "hello" ], [ { "Content-Type" => "application/json" }, "{}" ], [ { "Content-Type" => "application/json" }, "[1,2" ], [ {}, "x" ] ].each do |headers, body|
      @server.requests.clear
      @server.script([ 200, { "Stream-Next-Offset" => "00000001", **headers }, body ])
      error = assert_raises(DurableStreams::InvalidStreamContent) { DurableStreams.read_stream("notes") }
      assert_not_kind_of DurableStreams::ConnectionError, error
      assert_equal 1, @server.requests.size, "it was tried again"
    end
  end

  test "an incomplete response is retried" do
    broadcast
    @server.script(:break_off)
    assert_equal 1, DurableStreams.read_stream("notes").size
    @server.script(*[ :break_off ] * 3)
    assert_raises(DurableStreams::ConnectionError) { DurableStreams.read_stream("notes") }
  end

  test "a response without an offset is not the server's, and counts as none" do
    broadcast
    transport = DurableStreams.transport
    requests = [ -> { transport.create("notes") }, -> { transport.append("notes", [ EVENT ]) }, -> { transport.close("notes") },
      -> { transport.metadata("notes") }, -> { transport.read("notes", "-1") }, -> { transport.wait("notes", "-1") } ]
    requests.each do |request|
      @server.script [ 200, { "Content-Type" => "text/html" }, "<html>Back soon</html>" ]
      error = assert_raises(DurableStreams::ConnectionError, &request)
      assert_match "#{@server.url}/notes answered 200 without Stream-Next-Offset", error.message
    end
  end

  test "an append that a proxy has answered can be repeated later" do
    broadcast
    @server.script [ 200, { "Content-Type" => "text/html" }, "<html>Back soon</html>" ]
    error = assert_raises(DurableStreams::ConnectionError) { broadcast(key: "2") }
    broadcast(key: "2", producer: error.producer)

    assert_equal %w[ 1 2 ], @server.events("notes").pluck("key")
  end

  test "messages that cannot be parsed are skipped" do
    deep = "[" * 120 + "]" * 120
    body = %([{"key":"1","t":"a,]\\"}"}, #{deep} ,{"key":"2"},[1,[2]],"x",{"a":#{deep}}, 7])
    @server.script([ 200, { "Content-Type" => "application/json", "Stream-Next-Offset" => "9", "Stream-Up-To-Date" => "true" }, body ])
    events = DurableStreams.read_stream("notes")

    assert_equal [ { "key" => "1", "t" => "a,]\"}" }, { "key" => "2" }, [ 1, [ 2 ] ], "x", 7 ], events.to_a
    assert_equal [ 2, "9" ], [ events.skipped, events.offset ]
  end

  test "an offset whose events were removed raises" do
    @server.script(problem(410, "not kept"), problem(410, "deleted"))
    assert_raises(DurableStreams::StreamGone) { DurableStreams.read_stream("notes", offset: "00000003") }
    assert_empty DurableStreams.read_stream("notes")
    assert_empty DurableStreams.read_stream("notes", offset: nil)
  end

  test "a read starts over when events are trimmed between two pages" do
    4.times { |at| broadcast(key: at.to_s) }
    page = [ 200, { "Content-Type" => "application/json", "Stream-Next-Offset" => "00000001" }, [ { key: "trimmed" } ].to_json ]
    @server.script(page, problem(410, "not kept"))
    assert_equal %w[ 0 1 2 3 ], DurableStreams.read_stream("notes").pluck("key")
    @server.script(*[ page, problem(410, "not kept") ] * 3)
    assert_raises(DurableStreams::StreamGone) { DurableStreams.read_stream("notes") }
  end

  test "offset, metadata, closing and deleting" do
    assert_nil DurableStreams.stream_metadata("notes")
    assert_equal "00000000", DurableStreams.stream_offset("notes")
    broadcast
    assert_equal "00000001", DurableStreams.stream_offset("notes")
    assert_equal "application/json", DurableStreams.stream_metadata("notes").content_type
    assert_equal "00000001", DurableStreams.close_stream("notes")
    assert_raises(DurableStreams::StreamClosed) { broadcast }
    assert DurableStreams.delete_stream("notes")
    assert_not DurableStreams.delete_stream("notes")
    broadcast
    assert_equal 1, @server.events("notes").size
  end

  test "a forked process has its own connections and producers" do
    broadcast
    reader, writer = IO.pipe
    pid = fork do
      broadcast(key: "child")
      writer.write "done"
      exit!(0)
    end
    Process.wait(pid)
    broadcast(key: "parent")
    writer.close

    assert_equal "done", reader.read
    assert_equal %w[ 1 child parent ], @server.events("notes").pluck("key")
    assert_equal 2, sent("POST").map { |request| request.headers["producer-id"] }.uniq.size
    assert_equal 2, @server.connections
  end

  test "a signed URL is returned while the server is unreachable" do
    @server.stop
    reported = capture_error_reports(DurableStreams::ConnectionError) do
      assert_match "?token=", DurableStreams.signed_stream_url("notes")
    end
    assert reported.first.handled
  end

  test "an address without the route raises ConfigurationError" do
    not_served = problem(404, "nothing is served at this path", code: "no-such-path")
    @server.script(*[ not_served ] * 4)
    [ -> { broadcast }, -> { DurableStreams.read_stream("notes") } ].each do |call|
      error = assert_raises(DurableStreams::ConfigurationError, &call)
      assert_match "must end with the server's route, /v1/streams", error.message
      @server.script_clear
      @server.script(not_served)
    end
  end

  test "a short Retry-After is waited for, and a long one is left to the job" do
    @server.script(nil, problem(503, "starting", "Retry-After" => "0.3"))
    slept = []
    DurableStreams.transport.stub(:sleep, ->(seconds) { slept << seconds }) { broadcast }
    assert_equal [ 0.3 ], slept

    @server.script(problem(429, "slow down", "Retry-After" => "1e400"))
    assert_equal 3600, assert_raises(DurableStreams::ConnectionError) { broadcast }.retry_after
    @server.script(problem(429, "slow down", "Retry-After" => "120"))
    error = assert_raises(DurableStreams::ConnectionError) { broadcast }
    assert_equal 120, error.retry_after
    @server.script(problem(503, "starting", "Retry-After" => "Wed, 21 Oct 2026 07:28:00 GMT"))
    assert broadcast
  end

  test "an invalid address raises ConfigurationError" do
    DurableStreams.server_url = "streams.internal:4437"
    error = assert_raises(DurableStreams::ConfigurationError) { broadcast }
    assert_match "DurableStreams.server_url", error.message
  end

  private
    # The server explains a 401 in this header, which a response to HEAD has too.
    def unauthorized(reason)
      problem(401, "the token is bad", code: "unauthorized", "WWW-Authenticate" => %(Bearer error="invalid_token", error_description="the token is bad", error_reason="#{reason}"))
    end

    unless method_defined?(:capture_error_reports)
      def capture_error_reports(error_class)
        reports = []
        subscriber = Object.new
        subscriber.define_singleton_method(:report) do |error, handled:, **|
          reports << Struct.new(:error, :handled).new(error, handled) if error.is_a?(error_class)
        end
        Rails.error.subscribe(subscriber)
        yield
        reports
      ensure
        Rails.error.unsubscribe(subscriber)
      end
    end
end
