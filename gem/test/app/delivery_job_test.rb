# frozen_string_literal: true

require "test_helper"

class DeliveryJobTest < StubServerTestCase
  include ActiveJob::TestHelper

  class RecordingHandler < DurableStreams::Handler
    subscribes_to "notes/*", id: "recording", batch_size: 2, lease: 30

    class_attribute :seen, :before
    self.seen = []

    def process_batch(events)
      before&.call(stream, events)
      seen << [ stream, *events.pluck("key") ]
    end
  end

  class BriefHandler < RecordingHandler
    subscribes_to "brief/*", id: "brief", lease: 1
  end

  setup do
    RecordingHandler.seen, RecordingHandler.before = [], nil
    append "notes/a", 1, 2, 3
    append "notes/b", 4
    @subscription = StubSubscription.new(@server, "recording", %w[ notes/a notes/b ])
  end

  test "all pending events are processed and acknowledged" do
    perform

    assert_equal [ [ "notes/a", "1", "2" ], [ "notes/a", "3" ], [ "notes/b", "4" ] ], RecordingHandler.seen
    assert_equal({ "notes/a" => "00000003", "notes/b" => "00000001" }, @subscription.cursors)
    assert_equal %w[ callback callback ], @subscription.actions
  end

  test "events before the cursor are not processed" do
    @subscription.cursors["notes/a"] = "00000002"
    perform

    assert_equal [ [ "notes/a", "3" ], [ "notes/b", "4" ] ], RecordingHandler.seen
  end

  test "a handler that raises leaves its cursor, does not hold up other streams, and is tried again" do
    attempts = 0
    RecordingHandler.before = ->(stream, events) { raise "oops" if events.first["key"] == "3" && (attempts += 1) == 1 }
    job = perform(times: 1)

    assert_equal({ "notes/b" => "00000001", "notes/a" => "00000002" }, @subscription.cursors, "the first page of notes/a has been processed")
    assert_equal 1, @subscription.generation, "the lease has not been ended"
    perform_enqueued_jobs

    assert_equal({ "notes/a" => "00000003", "notes/b" => "00000001" }, @subscription.cursors)
    assert_equal [ [ "notes/a", "1", "2" ], [ "notes/b", "4" ], [ "notes/a", "3" ] ], RecordingHandler.seen, "a retry continues"
    assert_equal 2, @subscription.generation
    assert_no_enqueued_jobs
    assert job
  end

  test "a handler that keeps raising leaves the rest to the next delivery" do
    RecordingHandler.before = ->(*) { raise "oops" }
    perform(times: 1)
    errors = capture_reports { 5.times { perform_enqueued_jobs } }

    assert_equal [ "oops" ], errors.map(&:message).uniq
    assert_equal [ "notes/a", "notes/b" ], @contexts.pluck(:stream).uniq.sort
    assert_empty @subscription.cursors
    assert_equal 1, @subscription.generation, "the lease ends by itself"
    assert_no_enqueued_jobs
  end

  test "an earlier delivery does nothing" do
    wake = @subscription.wake
    @subscription.fence
    perform(wake)

    assert_empty RecordingHandler.seen
    assert_empty @subscription.cursors
    assert_no_enqueued_jobs
  end

  test "a lease that ends during a batch stops the delivery before the next batch" do
    append "notes/a", 5
    RecordingHandler.before = ->(*) { @subscription.fence }
    perform

    assert_equal [ [ "notes/a", "1", "2" ], [ "notes/a", "3", "5" ], [ "notes/b", "4" ] ], RecordingHandler.seen
    assert_empty @subscription.cursors
  end

  test "a long batch extends the lease and then notices its end" do
    append "brief/a", 1, 2, 3
    subscription = StubSubscription.new(@server, "brief", %w[ brief/a ])
    heartbeats = []
    RecordingHandler.before = ->(_, events) do
      heartbeats << subscription.next_request
      heartbeats << subscription.next_request
      subscription.fence
      subscription.next_request
      sleep 0.01 until heartbeat_threads.empty? # It has received the refusal.
    end
    append "brief/a", *4..200
    perform(subscription.wake)

    assert_equal [ "callback", { "wake_id" => "w_1", "generation" => 1, "acks" => [] } ], heartbeats.last
    assert_equal 1, RecordingHandler.seen.size
    assert_empty subscription.cursors
  end

  test "a heartbeat that a proxy answers is followed by another" do
    lease = DurableStreams::Rails::Lease.new(@subscription.wake, action: "callback", duration: 0.3)
    @server.script [ 200, { "Content-Type" => "text/html" }, "<html>Back soon</html>" ]
    lease.keep { assert_equal "callback", @subscription.next_request.first }
  end

  test "a stream that was deleted does not hold up the others" do
    @subscription.refuse "notes/a"
    errors = capture_reports { perform }

    assert_equal [ 409 ], errors.map(&:status)
    assert_equal({ "notes/b" => "00000001" }, @subscription.cursors)
    assert_equal 2, @subscription.generation

    subscription = StubSubscription.new(@server, "recording", %w[ notes/gone notes/b ])
    perform(subscription.wake)
    assert_equal({ "notes/b" => "00000001" }, subscription.cursors)
  end

  test "a trimmed stream continues at its first event, and says so" do
    @subscription.cursors["notes/a"] = "00000001"
    @server.script nil, problem(410, "the events at this offset are gone", code: "trimmed")
    errors = capture_reports { perform }

    assert_equal [ DurableStreams::StreamGone ], errors.map(&:class)
    assert_equal({ "notes/a" => "00000003", "notes/b" => "00000001" }, @subscription.cursors)
  end

  test "a server that is away is tried again" do
    @server.script nil, nil, :drop, :drop, :drop
    perform(times: 1)
    assert_enqueued_jobs 1
    perform_enqueued_jobs

    assert_equal({ "notes/a" => "00000003", "notes/b" => "00000001" }, @subscription.cursors)
  end

  test "an end whose response is lost is harmless" do
    @server.script nil, nil, nil, nil, :lose_answer
    perform

    assert_equal({ "notes/a" => "00000003", "notes/b" => "00000001" }, @subscription.cursors)
    assert_no_enqueued_jobs
  end

  test "a handler that no longer exists is ignored" do
    perform(DurableStreams::Rails::Wake.new(subscription_id: "removed", id: "w", generation: 1, token: "t", streams: []))
    assert_no_enqueued_jobs
  end

  test "many streams are acknowledged in several requests" do
    streams = 1_050.times.map { |at| "notes/#{at}" }
    lease = DurableStreams::Rails::Lease.new(StubSubscription.new(@server, "recording", streams).tap { |subscription| @subscription = subscription }.wake, action: "callback", duration: 30)
    lease.wake.streams.each { |stream| lease.processed(stream, "00000001") }
    lease.done

    assert_equal 1_050, @subscription.cursors.size
    sizes = @subscription.requests.size.times.map { @subscription.requests.pop.last["acks"].size }
    assert_equal [ 500, 500, 50 ], sizes
  end

  private
    def append(stream, *keys)
      keys.each { |key| broadcast(stream, key: key) }
    end

    def perform(wake = @subscription.wake, times: nil)
      job = DurableStreams::Rails::DeliveryJob.perform_later(wake.to_h)
      perform_enqueued_jobs
      perform_enqueued_jobs if times.nil?
      job
    end

    def heartbeat_threads
      Thread.list.select { |thread| thread.name == "durable_streams lease" }
    end

    def capture_reports
      subscriber = Class.new { def reports = @reports ||= []; def report(error, context:, **) = reports << [ error, context ] }.new
      Rails.error.subscribe(subscriber)
      yield
      errors, @contexts = subscriber.reports.transpose
      errors.to_a
    ensure
      Rails.error.unsubscribe(subscriber)
    end
end
