# frozen_string_literal: true

require "test_helper"

# Handlers in processes of their own, with the real server.
class HandlersTest < RealServerTestCase
  NOTES = "gid://dummy/Post/1/notes"

  setup do
    start_server webhooks: { allow_local_http: true, timeout_secs: 2 }, limits: { max_stream_bytes: 2.megabytes }
    @app = DummyApp.new(@server, signing_key: DurableStreams.config.signing_key)
    @app.create_database
    configure webhook_url: "http://127.0.0.1:#{@app.port}/durable_streams/webhook"
  end

  teardown { @app&.delete }

  test "the task creates the subscriptions, confirms them, and names what differs" do
    assert_equal [ "dummy-desk: created, desks/* to DeskHandler", "dummy-post-notes: created, gid://dummy/Post/*/notes to PostNotesHandler" ], sync
    assert_equal [ "dummy-desk: unchanged, desks/* to DeskHandler", "dummy-post-notes: unchanged, gid://dummy/Post/*/notes to PostNotesHandler" ], sync

    configure webhook_url: "http://127.0.0.1:4000/durable_streams/webhook"
    error = assert_raises(DurableStreams::SubscriptionConflict) { PostNotesHandler.subscription.sync }
    assert_match(/\Awebhook.url is "http:\/\/127.0.0.1:#{@app.port}\/durable_streams\/webhook" on the server and "http:\/\/127.0.0.1:4000\/durable_streams\/webhook" in PostNotesHandler\z/, error.message)
    assert_equal :replaced, PostNotesHandler.subscription.replace
    assert_equal :unchanged, PostNotesHandler.subscription.sync
  end

  test "a webhook address that the server does not accept is named" do
    configure webhook_url: "http://10.1.2.3/durable_streams/webhook"
    error = assert_raises(DurableStreams::ResponseError) { PostNotesHandler.subscription.sync }

    assert_match "/__ds/subscriptions/dummy-post-notes answered 400", error.message
    assert_nil api.find("dummy-post-notes")
  end

  test "what a browser writes is processed by a job, in its order" do
    sync
    start_puma
    url = DurableStreams.signed_stream_url(Post.new(id: 1), :notes, permissions: :write)
    3.times { |at| assert_includes 200..204, post(url, [ { type: "note", key: at.to_s } ]) }

    eventually { received(NOTES) == %w[ 0 1 2 ] }
    eventually { cursor("dummy-post-notes", NOTES) == tail(NOTES) }
  end

  test "events of an app that is down, hangs or fails arrive later" do
    sync
    broadcast NOTES, key: "down"
    puma = start_puma
    eventually { received(NOTES) == %w[ down ] }

    Process.kill :STOP, puma
    broadcast NOTES, key: "hangs"
    eventually { api.find("dummy-post-notes")["status"] == "failed" }
    Process.kill :CONT, puma
    eventually { received(NOTES).uniq == %w[ down hangs ] }
    eventually { api.find("dummy-post-notes")["status"] == "active" }

    @app.stop puma, :KILL
    broadcast NOTES, key: "killed"
    start_puma
    eventually { received(NOTES).uniq == %w[ down hangs killed ] }
    assert_equal %w[ down hangs killed ], received(NOTES).uniq
  end

  test "an event that fails holds up its stream only, and is delivered again" do
    @app.delete
    @app = DummyApp.new(@server, signing_key: DurableStreams.config.signing_key, env: { "DUMMY_FAILS" => "1" })
    @app.create_database
    configure webhook_url: "http://127.0.0.1:#{@app.port}/durable_streams/webhook"
    PostNotesHandler.subscription.sync
    puma = start_puma
    broadcast NOTES, key: "0"
    eventually { cursor("dummy-post-notes", NOTES) == tail(NOTES) }
    before = tail(NOTES)
    broadcast NOTES, key: "1", type: "failing"
    broadcast "gid://dummy/Post/2/notes", key: "2"

    eventually { received("gid://dummy/Post/2/notes").uniq == %w[ 2 ] }
    eventually { failed_attempts > DurableStreams::Rails::DeliveryJob::ATTEMPTS }
    assert_equal before, cursor("dummy-post-notes", NOTES)

    @app.stop puma
    @app.env.delete("DUMMY_FAILS")
    start_puma
    eventually { received(NOTES).include?("1") }
  end

  test "a worker processes events, survives the server, and gives its claim back" do
    worker = @app.spawn_worker
    eventually { api.find("dummy-desk") }
    broadcast "desks/1", key: "0"
    eventually { received("desks/1") == %w[ 0 ] }

    @server.stop :KILL
    @server.start
    broadcast "desks/1", key: "1"
    eventually { received("desks/1").uniq == %w[ 0 1 ] }
    @server.stop
    @server.start
    broadcast "desks/2", key: "2"
    eventually { received("desks/2").uniq == %w[ 2 ] }

    @app.stop worker
    assert_predicate $?, :success?, @app.log
    broadcast "desks/1", key: "3"
    assert api.claim("dummy-desk", worker: "test"), "nobody holds the subscription"
  end

  test "the wake stream drops old wakes, also those that a worker has not seen" do
    worker = @app.spawn_worker
    eventually { api.find("dummy-desk") }
    broadcast "desks/1", key: "0"
    eventually { received("desks/1") == %w[ 0 ] }

    Process.kill :STOP, worker
    32.times { broadcast DurableStreams.wake_stream, value: "x" * 100_000 }
    broadcast "desks/1", key: "1"
    32.times { broadcast DurableStreams.wake_stream, value: "x" * 100_000 }
    Process.kill :CONT, worker
    eventually { received("desks/1").uniq == %w[ 0 1 ] }
    broadcast "desks/1", key: "2"
    eventually { received("desks/1").uniq == %w[ 0 1 2 ] }
    assert_includes DurableStreams.transport.read(DurableStreams.wake_stream, "-1").events.pluck("subscription_id"), "dummy-desk"
  end

  test "one worker at a time holds a subscription, also when its holder is killed" do
    3.times { @app.spawn_worker }
    eventually { api.find("dummy-desk") }
    rounds = rounds(12)
    rounds.times do |round|
      keys = %w[ a b c ].map { |desk| "#{round}-#{desk}".tap { |key| broadcast("desks/#{desk}", key: key) } }
      replace_holder if round % 4 == 2
      eventually { (keys - received_keys).empty? }
    end

    batches = @app.rows("select distinct process, started_at, ended_at from received_events order by started_at")
    assert_operator batches.map(&:first).uniq.size, :>=, 2
    batches.each_cons(2) do |(process, _, ended_at), (next_process, started_at, _)|
      assert process == next_process || started_at >= ended_at, "#{process} and #{next_process} at once"
    end
    %w[ a b c ].each { |desk| eventually { cursor("dummy-desk", "desks/#{desk}") == tail("desks/#{desk}") } }
  end

  test "no event is lost and no cursor is ahead when the server is killed at any moment" do
    seed = Random.new(Minitest.seed)
    sync
    start_puma
    @app.spawn_worker
    sent = Hash.new { |hash, stream| hash[stream] = [] }
    rounds(8).times do |round|
      writer = Thread.new do
        30.times do |at|
          stream = [ NOTES, "gid://dummy/Post/2/notes", "desks/1", "desks/2" ].sample(random: seed)
          broadcast stream, key: key = "#{round}-#{at}"
          sent[stream] << key
        end
      end
      sleep seed.rand(0.5) # The moment of the kill.
      @server.stop :KILL
      @server.start
      writer.join
      assert_no_cursor_ahead(sent)
    end

    sent.each { |stream, keys| eventually { (keys - received(stream)).empty? } }
    sent.each_key { |stream| eventually { cursor(subscription_of(stream), stream) == tail(stream) } }
    sent.each { |stream, keys| assert_equal keys, received(stream).uniq, "in their order" }
  end

  private
    def api
      DurableStreams::Rails::SubscriptionApi.new
    end

    # More for a long run.
    def rounds(default)
      Integer(ENV.fetch("DURABLE_STREAMS_ROUNDS", default))
    end

    # Kills the worker that has processed the last batch, and starts another one.
    def replace_holder
      holder = @app.rows("select process from received_events order by id desc limit 1").flatten.first
      @app.stop(holder, :KILL)
      @app.spawn_worker
    end

    def sync
      @app.run("bin/rails", "durable_streams:subscriptions:sync").lines(chomp: true)
    end

    def start_puma
      @app.spawn_puma.tap { eventually { @app.up? } }
    end

    def post(url, events)
      uri = URI(url)
      Net::HTTP.start(uri.host, uri.port) { |http| http.post(uri.request_uri, events.to_json, "Content-Type" => "application/json") }.code.to_i
    end

    def received(stream)
      @app.rows("select key from received_events where stream = '#{stream}' and handler <> 'failed' order by id").flatten
    end

    def failed_attempts
      @app.rows("select count(*) from received_events where handler = 'failed'").flatten.sole
    end

    def received_keys
      @app.rows("select key from received_events").flatten
    end

    def subscription_of(stream)
      stream.start_with?("gid:") ? "dummy-post-notes" : "dummy-desk"
    end

    def cursor(subscription, stream)
      link = api.find(subscription)["streams"].find { |link| DurableStreams::Rails::StreamName.restore(link["path"]) == stream }
      link && link["acked_offset"]
    end

    def tail(stream)
      DurableStreams.transport.metadata(stream)&.offset
    end

    # Cursors are read before what was received.
    def assert_no_cursor_ahead(sent)
      sent.each do |stream, keys|
        offset = cursor(subscription_of(stream), stream) || next
        rest = DurableStreams.read_stream_named(stream, offset: offset).pluck("key")
        assert_empty DurableStreams.read_stream_named(stream).pluck("key") - rest - received(stream), stream
      end
    end

    def eventually
      600.times do
        return if yield
        sleep 0.05
      end
      flunk "#{@app.log.last(5_000)}\n#{@server.log.last(2_000)}"
    end
end
