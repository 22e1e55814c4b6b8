# frozen_string_literal: true

require "test_helper"

class WebhookEndpointTest < StubServerTestCase
  include ActiveJob::TestHelper

  URL = "/durable_streams/webhook"

  setup do
    @signer = WebhookSigner.new("ds_1")
    @server.answer("/v1/streams/__ds/jwks.json") { [ 200, {}, { keys: [ @signer.jwk ] }.to_json ] }
    @app = ActionDispatch::Integration::Session.new(Rails.application)
  end

  test "a delivery is enqueued with its pending streams" do
    assert_equal 202, deliver
    assert_enqueued_jobs 1, only: DurableStreams::Rails::DeliveryJob
    wake = enqueued_jobs.sole["arguments"].first
    assert_equal [ "dummy-post-notes", "w_1", 7, "t0ken", [ [ "gid://dummy/Post/1/notes", "-1", "0_2" ] ] ], wake.values_at("subscription_id", "id", "generation", "token", "streams")
  end

  test "the job has the queue of its handler, or else of the app" do
    deliver
    configure queue: :streams
    deliver
    PostNotesHandler.subscription.stub(:queue, :notes) { deliver }

    assert_equal %w[ default streams notes ], enqueued_jobs.pluck("queue_name")
  end

  test "a delivery without pending events is done" do
    assert_equal 200, deliver(streams: [])
    assert_equal '{"done":true}', @app.response.body
    assert_no_enqueued_jobs
  end

  test "a delivery that is not genuine enqueues nothing" do
    assert_equal 401, post(body, "t=1,kid=a,ed25519=b")
    assert_equal 401, post(body, nil)
    assert_equal 401, post(body(generation: 8), @signer.sign(body))
    assert_equal 401, post(body, @signer.sign(body, time: 10.minutes.ago.to_i))
    assert_equal 400, post("{}", @signer.sign("{}"))
    assert_equal 404, deliver(subscription_id: "dummy-other")
    assert_match "no handler of this app has the subscription dummy-other", @app.response.body
    assert_no_enqueued_jobs
  end

  test "a body that is too large is refused, with or without its length" do
    large = "x" * (DurableStreams::Webhook::MAX_BODY_BYTES + 1)
    assert_equal 413, post(large, @signer.sign("x"))
    assert_equal 413, DurableStreams::Webhook::Endpoint.call("rack.input" => StringIO.new(large), "HTTP_WEBHOOK_SIGNATURE" => @signer.sign("x")).first
    assert_equal 401, DurableStreams::Webhook::Endpoint.call({}).first
  end

  test "the largest delivery of the server is accepted" do
    # 64 KiB of names and 200 bytes for each, of which JSON escapes every byte.
    streams = 53.times.map { |at| { path: format("%02d", at) + '"' * 1022, acked_offset: "0" * 33, tail_offset: "0" * 33, has_pending: true } }
    assert_equal 202, deliver(streams: streams, callback_url: "x" * 2048)
  end

  test "without a signature of the present, the body is not read" do
    [ nil, "x", @signer.sign(body, time: 10.minutes.ago.to_i) ].each do |signature|
      input = StringIO.new(body)
      assert_equal 401, DurableStreams::Webhook::Endpoint.call({ "rack.input" => input, "HTTP_WEBHOOK_SIGNATURE" => signature }.compact).first
      assert_equal 0, input.pos
    end
  end

  test "while the keys cannot be fetched, the server is asked to deliver again" do
    @server.stop
    assert_equal 503, deliver
    assert_no_enqueued_jobs
  end

  test "a job that cannot be enqueued makes the server deliver again" do
    failing = Class.new(DurableStreams::Rails::DeliveryJob) { def enqueue(*) = self.tap { self.enqueue_error = ActiveJob::EnqueueError.new("full") } }
    DurableStreams::Rails::DeliveryJob.stub(:new, ->(wake) { failing.allocate.tap { |job| job.send(:initialize, wake) } }) do
      assert_raises(ActiveJob::EnqueueError) { DurableStreams::Webhook::Endpoint.call(env(body, @signer.sign(body))) }
    end
  end

  test "other methods and paths have no route" do
    @app.get URL
    assert_equal 404, @app.response.status
    @app.post "/durable_streams"
    assert_equal 404, @app.response.status
  end

  test "neither the token nor the body is logged" do
    log = StringIO.new
    before, Rails.logger = Rails.logger, ActiveSupport::TaggedLogging.new(Logger.new(log, level: :debug))
    ActiveJob::Base.logger, job_logger = Rails.logger, ActiveJob::Base.logger
    deliver
    deliver(subscription_id: "dummy-other")

    assert_match "refused a webhook", log.string
    assert_match "DeliveryJob", log.string
    assert_no_match "t0ken", log.string
  ensure
    Rails.logger = before
    ActiveJob::Base.logger = job_logger
  end

  private
    def body(**changes)
      @bodies ||= {}
      @bodies[changes] ||= {
        subscription_id: "dummy-post-notes", wake_id: "w_1", generation: 7, callback_token: "t0ken",
        streams: [
          { path: "gid://dummy/Post/1/notes", acked_offset: "-1", tail_offset: "0_2", has_pending: true },
          { path: "gid://dummy/Post/2/notes", acked_offset: "0_2", tail_offset: "0_2", has_pending: false }
        ]
      }.merge(changes).to_json
    end

    def deliver(**changes)
      post(body(**changes), @signer.sign(body(**changes)))
    end

    def post(body, signature)
      @app.post URL, params: body, headers: { "Content-Type" => "application/json", "Webhook-Signature" => signature }.compact
      @app.response.status
    end

    def env(body, signature)
      { "rack.input" => StringIO.new(body), "CONTENT_LENGTH" => body.bytesize.to_s, "HTTP_WEBHOOK_SIGNATURE" => signature }
    end
end
