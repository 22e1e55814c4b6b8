# frozen_string_literal: true

require "test_helper"

# A server that is away while it is deployed. Time passes only where a request sleeps.
class OutageTest < StubServerTestCase
  setup do
    configure(retry_timeout: 5)
    DurableStreams::Rails::HttpTransport.retry_delay = @retry_delay
    @slept = 0
  end

  test "a broadcast waits for a server that refuses connections for two seconds" do
    broadcast
    @server.stop
    @server.close_connections
    passing_time(until_back: 2) { @server.restart }
    riding_through { broadcast(key: "2") }

    assert_equal %w[ 1 2 ], @server.events("notes").pluck("key")
    assert_in_delta 2, @slept, 0.7
  end

  test "a broadcast waits for a server that is starting, whatever delay it asks for" do
    @server.script(nil, *[ problem(503, "starting", "Retry-After" => "1") ] * 2, problem(503, "starting", "Retry-After" => "4"))
    riding_through { broadcast }

    assert_equal 1, @server.events("notes").size
    assert_in_delta 5, @slept, 0.1, "the last delay ends with the time left"
  end

  test "a broadcast whose connections are reset for two seconds takes effect once" do
    broadcast
    @server.script(:lose_answer, *[ :drop ] * 1000)
    passing_time(until_back: 2) { @server.script_clear }
    riding_through { broadcast(key: "2") }

    assert_equal %w[ 1 2 ], @server.events("notes").pluck("key")
  end

  test "reads, metadata and closing wait too" do
    broadcast
    [ -> { DurableStreams.read_stream("notes") }, -> { DurableStreams.stream_metadata("notes") }, -> { DurableStreams.close_stream("notes") } ].each do |call|
      @slept = 0
      @server.stop
      @server.close_connections
      passing_time(until_back: 2) { @server.restart }
      assert riding_through { call.call }
    end
  end

  test "pages do not wait and do not fail" do
    @server.stop
    riding_through do
      assert_match "/notes?token=", DurableStreams.signed_stream_url("notes")
      assert_nil DurableStreams.stream_offset("notes")
    end
    assert_equal 0, @slept
  end

  test "a long outage costs its timeout once, and the next one again" do
    @server.stop
    riding_through { assert_raises(DurableStreams::ConnectionError) { broadcast } }
    assert_in_delta 5, @slept, 0.5

    @slept = 0
    riding_through { assert_raises(DurableStreams::ConnectionError) { broadcast } }
    assert_operator @slept, :<, 1

    @server.restart
    riding_through { broadcast }
    @server.stop
    @server.close_connections
    @slept = 0
    riding_through { assert_raises(DurableStreams::ConnectionError) { broadcast } }
    assert_in_delta 5, @slept, 0.5
  end

  private
    # Runs the block once that many seconds have passed.
    def passing_time(until_back:, &block)
      @back = [ until_back, block ]
    end

    def riding_through(&block)
      real = Process.method(:clock_gettime)
      clock = ->(id, *unit) { real.call(id, *unit) + (id == Process::CLOCK_MONOTONIC && unit.empty? ? total : 0) }
      Process.stub(:clock_gettime, clock) { DurableStreams.transport.stub(:sleep, ->(seconds) { advance(seconds) }, &block) }
    end

    def advance(seconds)
      @slept += seconds
      @total = total + seconds
      return unless @back && @slept >= @back.first

      @back.last.call
      @back = nil
    end

    def total
      @total ||= 0
    end
end
