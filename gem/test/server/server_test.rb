# frozen_string_literal: true

require "test_helper"

class ServerTest < RealServerTestCase
  setup do
    start_server
    @post = Post.create!(title: "Post")
  end

  test "writes over the internal listener are read at the public one" do
    txid = broadcast([ @post, :notes ])
    response = get(DurableStreams.signed_stream_url(@post, :notes))

    assert_equal "200", response.code
    assert_equal [ { "type" => "note", "key" => "1", "value" => { "body" => "Hello" }, "headers" => { "operation" => "insert", "txid" => txid } } ],
      JSON.parse(response.body)
    assert_equal DurableStreams.stream_offset(@post, :notes), response["Stream-Next-Offset"]
  end

  test "unusual names work" do
    [ "häuser & co", "a?b#c%41", "a//b", "gid://dummy/Post/1?x=y", "emoji 🦀" ].each do |name|
      broadcast(name, key: name)
      assert_equal [ name ], keys_of(name)
      assert_equal "200", get(DurableStreams.signed_stream_url(name)).code
    end
  end

  test "a signed URL reads one stream until it expires" do
    url, token = DurableStreams.signed_stream_primitives(@post)

    assert_equal "200", get(url, token).code
    assert_equal "403", get("#{@server.public_url}/other", token).code
    assert_equal "401", get(url).code
    assert_equal "403", post(url, token).code
    travel_to(1.hour.ago) { token = DurableStreams.signed_stream_primitives(@post).token }
    assert_equal "401", get(url, token).code
  end

  test "a signed URL with write permission may append" do
    url, token = DurableStreams.signed_stream_primitives(@post, permissions: %i[ read write ])

    assert_includes %w[ 200 204 ], post(url, token).code
    assert_equal [ "typed" ], DurableStreams.read_stream(@post).map { |event| event["type"] }
  end

  test "offset, metadata, continued reads, closing and deleting" do
    assert_nil DurableStreams.stream_metadata("notes")
    assert_empty DurableStreams.read_stream("notes")
    tail = DurableStreams.stream_offset("notes")
    broadcast

    assert_equal [ "1" ], DurableStreams.read_stream("notes", offset: tail).pluck("key")
    assert_equal "application/json", DurableStreams.stream_metadata("notes").content_type
    assert_equal DurableStreams.stream_offset("notes"), DurableStreams.close_stream("notes")
    assert_predicate DurableStreams.stream_metadata("notes"), :closed?
    assert_predicate DurableStreams.read_stream("notes"), :closed?
    assert_match "?token=", DurableStreams.signed_stream_url("notes")
    DurableStreams.reset_connections
    assert_match "?token=", DurableStreams.signed_stream_url("notes")
    assert_raises(DurableStreams::StreamClosed) { broadcast }
    assert DurableStreams.delete_stream("notes")
    assert_not DurableStreams.delete_stream("notes")
    broadcast
    assert_equal [ "1" ], keys_of
  end

  test "long streams are read completely" do
    body = "x" * 100_000
    30.times { |at| broadcast(key: at.to_s, value: { body: body }) }
    assert_equal 30.times.map(&:to_s), keys_of
  end

  test "a value can be as deep as the server allows, and no deeper" do
    nested = ->(levels) { (levels - 1).times.inject([]) { |value, _| [ value ] } }
    deepest = DurableStreams::Rails::StateEvent::MAX_DEPTH
    broadcast("notes", value: nested.(deepest))
    assert_equal [ nested.(deepest) ], DurableStreams.read_stream("notes").pluck("value")
    assert_raises(DurableStreams::InvalidEvent) { broadcast("notes", value: nested.(deepest + 1)) }
    assert_equal [ "1" ], keys_of
  end

  test "threads and forked processes share streams" do
    broadcast("notes", key: "first")
    threads = 4.times.map { |thread| Thread.new { 25.times { |at| broadcast("notes", key: "#{thread}-#{at}") } } }
    pids = 2.times.map do |process|
      fork { 25.times { |at| broadcast("notes", key: "p#{process}-#{at}") }; exit!(0) }
    end
    threads.each(&:join)
    pids.each { |pid| Process.wait(pid) }

    assert_equal 151, keys_of.size
    assert_equal 151, keys_of.uniq.size
  end

  test "many jobs share few connections" do
    adapter = ActiveJob::QueueAdapters::AsyncAdapter.new(min_threads: 5, max_threads: 5)
    jobs = 1_000.times.map { |at| DurableStreams.build_broadcast_event_to("notes", type: "note", key: at, value: { at: at }, operation: :insert) }
    was, DurableStreams::Rails::BroadcastJob.queue_adapter = DurableStreams::Rails::BroadcastJob.queue_adapter, adapter
    ActiveJob.perform_all_later(jobs)
    600.times { keys_of.size == 1_000 ? break : sleep(0.05) }

    assert_equal 1_000, keys_of.uniq.size
    assert_operator connections_to(@server.internal_port), :<=, 7
  ensure
    DurableStreams::Rails::BroadcastJob.queue_adapter = was if was
    adapter&.shutdown
  end

  private
    def get(url, token = nil)
      uri = URI(url)
      Net::HTTP.start(uri.host, uri.port) { |http| http.get(uri.request_uri, { "Authorization" => ("Bearer #{token}" if token) }.compact) }
    end

    def post(url, token)
      uri = URI(url)
      body = [ { type: "typed", key: "1", value: {}, headers: { operation: "insert" } } ].to_json
      Net::HTTP.start(uri.host, uri.port) { |http| http.post(uri.request_uri, body, "Authorization" => "Bearer #{token}", "Content-Type" => "application/json") }
    end

    # Counts open and recently closed connections.
    def connections_to(port)
      hexadecimal = format(":%04X", port)
      File.readlines("/proc/net/tcp").count { |line| line.split[2].end_with?(hexadecimal) && %w[ 01 06 ].include?(line.split[3]) }
    end
end
