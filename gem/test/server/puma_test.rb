# frozen_string_literal: true

require "test_helper"

# The dummy app in a preloaded Puma cluster.
class PumaTest < RealServerTestCase
  WORKERS, THREADS = 2, 4

  CONFIG = <<~RUBY
    workers #{WORKERS}
    threads #{THREADS}, #{THREADS}
    preload_app!
    before_fork { DurableStreams.signed_stream_url("warm") } # Workers must not share this connection.
  RUBY

  setup do
    start_server
    @app = DummyApp.new(@server, signing_key: DurableStreams.config.signing_key, env: { "DUMMY_PAGE_RETRY_INTERVAL" => "1" })
    @app.create_database
    @app.spawn_puma(CONFIG)
    eventually { @app.up? }
  end

  teardown { @app&.delete }

  test "threads of all processes broadcast each change once" do
    answers = at_once(60) { |at| post("/posts/1/comments?body=#{at}") }
    events = wait_for_events(60)

    assert_equal answers.map { |answer| answer["id"].to_s }.sort, events.pluck("key").sort
    assert_equal answers.pluck("txid").sort, events.map { |event| event["headers"]["txid"] }.sort
  end

  test "pages and saves work while the server hangs and afterwards" do
    assert_predicate get("/posts/1")["offset"], :present?
    @server.signal :STOP
    pages, took = timed { at_once(40) { get("/posts/1") } }
    assert_equal [ nil ], pages.pluck("offset").uniq
    assert pages.all? { |page| page["url"].include?("?token=") }
    # Each thread makes one short attempt; later pages make none.
    assert_operator took, :<, 3
    saved = at_once(10) { |at| post("/posts/1/comments?body=#{at}") }
    assert_equal 10, saved.pluck("id").uniq.size

    @server.signal :CONT
    assert_equal saved.map { |answer| answer["id"].to_s }.sort, wait_for_events(10).pluck("key").sort
    eventually { at_once(8) { get("/posts/1") }.all? { |page| page["offset"].present? } }
  end

  private
    def get(path)
      JSON.parse(@app.request(Net::HTTP::Get, path).body)
    end

    def post(path)
      JSON.parse(@app.request(Net::HTTP::Post, path).body)
    end

    def at_once(count, &block)
      work = count.times.to_a
      (WORKERS * THREADS).times.map { Thread.new { [].tap { |results| while (at = work.shift) do results << block.call(at) end } } }.flat_map(&:value)
    end

    def wait_for_events(count)
      events = []
      eventually { (events = DurableStreams.read_stream_named("gid://dummy/Post/1")).size >= count }
      events.to_a
    end

    def timed
      started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      [ yield, Process.clock_gettime(Process::CLOCK_MONOTONIC) - started ]
    end

    def eventually
      600.times do
        return if yield
      rescue SystemCallError, EOFError
        nil
      ensure
        sleep 0.05
      end
      flunk @app.log
    end
end
