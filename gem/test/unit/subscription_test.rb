# frozen_string_literal: true

require "test_helper"

class SubscriptionTest < StubServerTestCase
  setup do
    configure webhook_url: "https://app.example.com/durable_streams/webhook"
    @existing = nil
    @server.answer("/v1/streams/__ds/subscriptions/dummy-post-notes") { |request| answer(request) }
    @server.answer("/v1/streams/__ds/subscriptions/dummy-desk") { |request| answer(request) }
  end

  test "a subscription is created once" do
    assert_equal :created, PostNotesHandler.subscription.sync
    assert_equal :unchanged, PostNotesHandler.subscription.sync
    assert_equal({ "type" => "webhook", "pattern" => "gid://dummy/Post/*/notes", "webhook" => { "url" => "https://app.example.com/durable_streams/webhook" }, "lease_ttl_ms" => 3000 },
      JSON.parse(sent("PUT").first.body))
    assert_match(/\ABearer ey/, sent("PUT").first.headers["authorization"])
  end

  test "the wake stream of workers is created first" do
    assert_equal :created, DeskHandler.subscription.sync
    assert_equal %w[ /v1/streams/dummy/wakes /v1/streams/__ds/subscriptions/dummy-desk ], sent("PUT").map(&:path)
    assert_equal "1048576", sent("PUT").first.headers["stream-retention-bytes"]
    configure wake_stream: "other/wakes"
    assert_raises(DurableStreams::SubscriptionConflict) { DeskHandler.subscription.sync }
    assert_equal "/v1/streams/other/wakes", sent("PUT")[2].path
  end

  test "a conflict names what differs" do
    PostNotesHandler.subscription.sync
    configure webhook_url: "https://new.example.com/durable_streams/webhook"
    error = assert_raises(DurableStreams::SubscriptionConflict) { PostNotesHandler.subscription.sync }

    assert_equal 'webhook.url is "https://app.example.com/durable_streams/webhook" on the server and "https://new.example.com/durable_streams/webhook" in PostNotesHandler', error.message
  end

  test "slashes that the server has merged are no difference" do
    PostNotesHandler.subscription.sync
    @existing["pattern"] = "gid:/dummy/Post/*/notes"
    configure webhook_url: "https://new.example.com/"
    assert_no_match "pattern", assert_raises(DurableStreams::SubscriptionConflict) { PostNotesHandler.subscription.sync }.message
  end

  test "a conflict can be replaced" do
    PostNotesHandler.subscription.sync
    configure webhook_url: "https://new.example.com/durable_streams/webhook"

    assert_equal :replaced, PostNotesHandler.subscription.replace
    assert_equal :unchanged, PostNotesHandler.subscription.sync
  end

  test "other refusals keep their reason" do
    @server.script problem(400, "webhook.url must use https", code: "unsafe-webhook-url")
    error = assert_raises(DurableStreams::ResponseError) { PostNotesHandler.subscription.sync }
    assert_equal [ 400, "unsafe-webhook-url" ], [ error.status, error.code ]
    assert_match "webhook.url must use https", error.message
  end

  test "claims" do
    api = DurableStreams::Rails::SubscriptionApi.new
    claim = ->(status, body) do
      @server.answer("/v1/streams/__ds/subscriptions/dummy-desk/claim") { [ status, { "Content-Type" => "application/json" }, body.to_json ] }
      api.claim("dummy-desk", worker: "w")
    end

    assert_equal 7, claim.(200, { wake_id: "w_1", generation: 7, token: "t", streams: [] }).generation
    assert_nil claim.(409, { error: { code: "ALREADY_CLAIMED", current_holder: "x", generation: 7 } })
    assert_nil claim.(409, { error: { code: "NO_PENDING_WORK" } })
    assert_nil claim.(409, { error: { code: "PAUSED" } })
    assert_nil claim.(409, { type: "urn:durable-streams:problem:no-pending-work" })
    assert_nil claim.(204, nil)
    assert_raises(DurableStreams::Conflict) { claim.(409, { error: { code: "OTHER" } }) }
    assert_raises(DurableStreams::Conflict) { claim.(409, "x") }
    assert_raises(DurableStreams::ResponseError) { claim.(404, {}) }
    assert_equal({ "worker" => "w" }, JSON.parse(sent("POST").last.body))
  end

  test "a wake's own token is used, and its refusal ends the lease" do
    wake = DurableStreams::Rails::Wake.new(subscription_id: "dummy-desk", id: "w_1", generation: 7, token: "own", streams: [])
    answer = [ 200, {}, '{"ok":true,"next_wake":true}' ]
    @server.answer("/v1/streams/__ds/subscriptions/dummy-desk/ack") { answer }
    api = DurableStreams::Rails::SubscriptionApi.new

    assert api.acknowledge(wake, "ack", { "a" => "0_1" }, done: true)
    assert_equal "Bearer own", sent("POST").last.headers["authorization"]
    assert_equal({ "wake_id" => "w_1", "generation" => 7, "acks" => [ { "stream" => "a", "offset" => "0_1" } ], "done" => true }, JSON.parse(sent("POST").last.body))
    [ [ 401, {}, "{}" ], [ 404, {}, "{}" ], [ 409, {}, '{"error":{"code":"FENCED"}}' ] ].each do |refusal|
      answer = refusal
      count = sent("POST").size
      assert_raises(DurableStreams::Fenced) { api.acknowledge(wake, "ack", {}) }
      assert_equal count + 1, sent("POST").size
    end
  end

  test "a response that is not the server's is an error, as if there were no server" do
    wake = DurableStreams::Rails::Wake.new(subscription_id: "dummy-desk", id: "w_1", generation: 7, token: "own", streams: [])
    api = DurableStreams::Rails::SubscriptionApi.new
    requests = [ -> { api.find("dummy-desk") }, -> { api.create("dummy-desk", {}) }, -> { api.claim("dummy-desk", worker: "w") }, -> { api.acknowledge(wake, "ack", {}) } ]

    requests.product([ "<html>Back soon</html>", "", "[]", "\xFF".b ]).each do |request, body|
      @server.script [ 200, { "Content-Type" => "text/html" }, body ]
      error = assert_raises(DurableStreams::ConnectionError, body, &request)
      assert_match(/dummy-desk.* answered 200 with something other than a JSON object/, error.message)
    end
  end

  private
    def answer(request)
      case request.verb
      when "PUT"
        configuration = JSON.parse(request.body)
        return [ 201, {}, configuration.to_json ].tap { @existing = configuration } if @existing.nil?
        @existing == configuration ? [ 200, {}, @existing.to_json ] : [ 409, {}, { error: { code: "SUBSCRIPTION_ALREADY_EXISTS" } }.to_json ]
      when "GET" then @existing ? [ 200, {}, @existing.merge("description" => nil, "status" => "active").to_json ] : [ 404 ]
      when "DELETE" then @existing = nil; [ 204 ]
      end
    end
end
