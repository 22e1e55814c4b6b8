# frozen_string_literal: true

require "test_helper"

class WorkerTest < StubServerTestCase
  class SlowHandler < DurableStreams::Handler
    subscribes_to "slow/*", via: :worker, id: "slow", lease: 30, batch_size: 1

    class_attribute :seen, :before
    self.seen = []

    def process(event)
      before&.call(event)
      seen << event["key"]
    end
  end

  setup do
    SlowHandler.seen, SlowHandler.before = [], nil
    broadcast "slow/a", key: 1
    broadcast "slow/a", key: 2
    @subscription = StubSubscription.new(@server, "slow", %w[ slow/a ])
    @consumer = consumer
  end

  test "a claim is processed and ended" do
    assert_nil @consumer.consume

    assert_equal %w[ 1 2 ], SlowHandler.seen
    assert_equal({ "slow/a" => "00000002" }, @subscription.cursors)
    assert_equal %w[ claim ack ], @subscription.actions
  end

  test "without pending work nothing happens" do
    @subscription.pending = false
    assert_nil @consumer.consume
    assert_equal %w[ claim ], @subscription.actions
  end

  test "a handler that raises keeps its claim, which expires" do
    SlowHandler.before = ->(event) { raise "oops" if event["key"] == "2" }
    assert_nil @consumer.consume

    assert_equal %w[ 1 ], SlowHandler.seen
    assert_empty @subscription.cursors, "both events are of one page"
    assert_equal %w[ claim ack ], @subscription.actions
    assert_equal 1, @subscription.generation
  end

  test "an exception that is no standard error does not end the worker" do
    SlowHandler.before = ->(*) { raise NotImplementedError }
    assert_nil @consumer.consume
  end

  test "a server that is away is tried again later, with growing pauses" do
    @server.stop
    @server.close_connections
    pauses = 8.times.map { @consumer.consume }

    assert_equal pauses.map { |pause| pause.clamp(0.25, 30) }, pauses
    assert_operator pauses.last, :>, pauses.first
  end

  test "a delivery continues when the server is back, with the same lease" do
    SlowHandler.before = ->(*) { SlowHandler.before = nil; @server.script(:drop, :drop, :drop) }
    pausing { 0 }
    assert_nil @consumer.consume

    assert_equal({ "slow/a" => "00000002" }, @subscription.cursors)
    assert_equal 1, @subscription.actions.count("claim")
  end

  test "a wake during an outage, after which the lease has ended, is kept" do
    SlowHandler.before = ->(*) { SlowHandler.before = nil; @server.script(:drop, :drop, :drop) }
    pauses = [ 600, 0 ]
    pausing do
      if pauses.many?
        @subscription.fence
        @consumer.wake
      end
      pauses.pop
    end
    running do
      @consumer.wake
      assert_equal %w[ claim ack claim ack ], 4.times.map { @subscription.next_request.first }
    end
    assert_empty pauses
    assert_equal({ "slow/a" => "00000002" }, @subscription.cursors)
  end

  test "stopping ends the pauses of a delivery" do
    SlowHandler.before = ->(*) { SlowHandler.before = nil; @server.script(:drop, :drop, :drop) }
    pausing { @consumer.stop; 600 }
    assert_nil @consumer.consume
    assert_equal %w[ claim ack release ], @subscription.actions
  end

  test "a fenced worker moves no cursor and claims again after a pause" do
    SlowHandler.before = ->(*) { SlowHandler.before = nil; @subscription.fence }
    pausing { 7 }
    assert_equal 7, @consumer.consume
    assert_empty @subscription.cursors

    assert_nil @consumer.consume
    assert_equal({ "slow/a" => "00000002" }, @subscription.cursors)
  end

  test "a worker that hears nothing claims about once in a lease" do
    @subscription.pending = false
    @consumer = consumer(lease: 0.01)
    running { 3.times { assert_equal "claim", @subscription.next_request.first } }
  end

  test "stopping finishes the batch and gives the claim back" do
    SlowHandler.before = ->(*) { @consumer.stop }
    assert_nil @consumer.consume

    assert_equal %w[ 1 ], SlowHandler.seen
    assert_equal %w[ claim release ], @subscription.actions
  end

  test "a worker follows the wakes, and stops" do
    @server.answer("/v1/streams/dummy/wakes") do |request|
      if request.verb == "PUT" then [ 201, { "Stream-Next-Offset" => "0" } ]
      elsif (event = wakes.pop(timeout: 5)) then [ 200, { "Content-Type" => "application/json", "Stream-Next-Offset" => "1" }, [ event ].to_json ]
      else [ 204, { "Stream-Next-Offset" => "1" } ]
      end
    end
    @server.answer("/v1/streams/__ds/subscriptions/slow") { [ 201, {}, "{}" ] }
    @subscription.pending = false
    worker = DurableStreams::Worker.new([ SlowHandler.subscription ], name: "me")
    thread = Thread.new { worker.run }
    assert_equal [ "claim", { "worker" => "me" } ], @subscription.next_request
    assert_empty SlowHandler.seen

    @subscription.pending = true
    wakes << { type: "wake", subscription_id: "slow", stream: "slow/a", generation: 1, ts: 1 }
    assert_equal %w[ claim ack ], 2.times.map { @subscription.next_request.first }
    assert_equal %w[ 1 2 ], SlowHandler.seen

    wakes << 1 << { type: "wake", subscription_id: "other" } << { type: "other", subscription_id: "slow" }
    @subscription.pending = true
    wakes << { type: "wake", subscription_id: "slow" }
    assert_equal "claim", @subscription.next_request.first

    worker.stop
    assert thread.join(10), "the worker has ended"
  end

  test "a handler that does not end in time is interrupted, and its claim given back" do
    started = Queue.new
    SlowHandler.before = ->(*) { started << true; sleep }
    worker = DurableStreams::Worker.new([ SlowHandler.subscription ], name: "me", shutdown_timeout: 0.05)
    @server.answer("/v1/streams/__ds/subscriptions/slow") { [ 201, {}, "{}" ] }
    thread = Thread.new { worker.run }
    assert started.pop(timeout: 10)
    worker.stop

    assert thread.join(10), "the worker has ended"
    assert_equal "release", @subscription.actions.last
    assert_empty @subscription.cursors
  end

  test "an error that a thread does not expect ends the worker" do
    SlowHandler.before = ->(*) { raise SecurityError, "unexpected" }
    @server.answer("/v1/streams/__ds/subscriptions/slow") { [ 201, {}, "{}" ] }
    error = assert_raises(SecurityError) { DurableStreams::Worker.new([ SlowHandler.subscription ]).run }
    assert_equal "unexpected", error.message
  end

  test "a worker waits for a server that is not up yet, and can be stopped meanwhile" do
    @server.stop
    @server.close_connections
    worker = DurableStreams::Worker.new([ SlowHandler.subscription ])
    thread = Thread.new { worker.run }
    worker.stop
    assert thread.join(10)
  end

  test "a worker does not start with another configuration" do
    @server.answer("/v1/streams/__ds/subscriptions/slow") { |request| request.verb == "GET" ? [ 200, {}, '{"pattern":"fast/*"}' ] : [ 409, {}, "{}" ] }
    error = assert_raises(DurableStreams::SubscriptionConflict) { DurableStreams::Worker.new([ SlowHandler.subscription ]).run }
    assert_match 'pattern is "fast/*" on the server and "slow/*" in WorkerTest::SlowHandler', error.message
  end

  private
    def consumer(lease: 30)
      DurableStreams::Worker::Consumer.new("slow", lease: lease, worker: "me")
    end

    # The block returns the seconds of each pause.
    def pausing(&block)
      backoff = Object.new
      backoff.define_singleton_method(:next) { block.call }
      backoff.define_singleton_method(:reset) { }
      DurableStreams::Worker::Backoff.stub(:new, backoff) { @consumer = consumer }
    end

    # Runs the consumer during the block.
    def running
      thread = Thread.new { @consumer.run }
      yield
    ensure
      @consumer.stop
      assert thread.join(10), "the consumer has ended"
    end

    def wakes
      @wakes ||= Queue.new
    end
end
