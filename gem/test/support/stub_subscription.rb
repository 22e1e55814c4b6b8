# frozen_string_literal: true

# One subscription of a StubServer, whose leases end when the test says so.
class StubSubscription
  attr_reader :requests, :cursors, :generation
  attr_accessor :pending

  def initialize(server, id, streams)
    @server, @id, @streams = server, id, streams
    @requests, @cursors, @generation, @refused = Queue.new, {}, 1, []
    @pending = true
    %w[ callback ack release claim ].each { |action| server.answer(path(action)) { |request| handle(action, request) } }
  end

  def wake
    DurableStreams::Rails::Wake.build(claimed, subscription_id: @id, token: token)
  end

  # Ends the current lease, as its expiry does.
  def fence
    @generation += 1
  end

  # Refuses to acknowledge the stream, as if it had been deleted.
  def refuse(stream)
    @refused << stream
  end

  # Waits for the next request and returns its action and body.
  def next_request
    @requests.pop(timeout: 10) || raise("no request came")
  end

  def actions
    @requests.size.times.map { @requests.pop.first }
  end

  private
    def path(action)
      "/v1/streams/__ds/subscriptions/#{@id}/#{action}"
    end

    def token
      "token-#{generation}"
    end

    def claimed
      streams = @streams.map do |stream|
        { path: stream, link_type: "glob", acked_offset: @cursors.fetch(stream, "-1"), tail_offset: "99999999", has_pending: true }
      end
      JSON.parse({ wake_id: "w_#{generation}", generation: generation, token: token, streams: streams, lease_ttl_ms: 30_000 }.to_json)
    end

    def handle(action, request)
      body = JSON.parse(request.body)
      @requests << [ action, body ]
      return claim if action == "claim"
      return error("FENCED") unless request.headers["authorization"] == "Bearer #{token}" && body.values_at("wake_id", "generation") == [ "w_#{generation}", generation ]
      return error("INVALID_OFFSET") if body["acks"].to_a.any? { |ack| @refused.include?(ack["stream"]) }

      body["acks"].to_a.each { |ack| @cursors[ack["stream"]] = ack["offset"] }
      finish if body["done"] || action == "release"
      [ 200, {}, { ok: true, next_wake: false }.to_json ]
    end

    def claim
      pending ? [ 200, {}, claimed.to_json ] : error("NO_PENDING_WORK")
    end

    def finish
      @pending = false
      fence
    end

    def error(code)
      [ 409, { "Content-Type" => "application/json" }, { error: { code: code } }.to_json ]
    end
end
