# frozen_string_literal: true

require "test_helper"

class WebhookTest < StubServerTestCase
  BODY = {
    subscription_id: "dummy-messages", wake_id: "w_1", generation: 7, callback_url: "https://elsewhere.example.com/", callback_token: "t0ken",
    streams: [
      { path: "a", link_type: "glob", acked_offset: "0_0", tail_offset: "0_2", has_pending: true },
      { path: "b", link_type: "glob", acked_offset: "0_2", tail_offset: "0_2", has_pending: false }
    ]
  }.to_json

  # Signed by Node's crypto with the first key of RFC 8032, section 7.1.
  VECTOR_TIME = 1_700_000_000
  VECTOR_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
  VECTOR_BODY = '{"subscription_id":"s","wake_id":"w_1","generation":1,"streams":[],"callback_token":"t"}'
  VECTOR_HEADER = "t=1700000000,kid=rfc8032,ed25519=3g3CKVE7ztQCwb3tDp0qtlYfIKAARLHmCVTCJjdmkCyb7Evw1TyZ-01emFIj8xVeZbFfE5bNZevc5M_6gTWJAw"

  setup do
    freeze_time
    @signer = WebhookSigner.new("ds_1")
    publish @signer
  end

  test "a genuine delivery is parsed" do
    wake = verify(BODY)

    assert_equal [ "dummy-messages", "w_1", 7, "t0ken" ], [ wake.subscription_id, wake.id, wake.generation, wake.token ]
    assert_equal [ [ "a", "0_0", "0_2" ] ], wake.streams.map(&:to_a)
    assert_no_match "t0ken", wake.inspect
    assert_equal [ "/v1/streams/__ds/jwks.json" ], @server.requests.map(&:path)
  end

  test "a signature of another implementation is verified" do
    publish({ "kty" => "OKP", "crv" => "Ed25519", "kid" => "rfc8032", "use" => "sig", "alg" => "EdDSA", "x" => VECTOR_X })
    travel_to Time.at(VECTOR_TIME)

    assert_equal "w_1", DurableStreams::Webhook.verify(VECTOR_BODY, VECTOR_HEADER).id
  end

  test "a changed body, time or key is refused" do
    publish @signer, other = WebhookSigner.new("ds_2")
    header = @signer.sign(BODY)

    assert_refused(:InvalidSignature, /the key ds_1/) { DurableStreams::Webhook.verify("#{BODY} ", header) }
    assert_refused(:InvalidSignature) { DurableStreams::Webhook.verify(BODY, header.sub(/t=\d+/) { |time| "t=#{time[2..].to_i + 1}" }) }
    assert_refused(:InvalidSignature, /ds_2/) { DurableStreams::Webhook.verify(BODY, header.sub("ds_1", other.kid)) }
    assert_refused(:InvalidSignature) { DurableStreams::Webhook.verify(BODY, header.sub(/ed25519=.*/, "ed25519=#{"A" * 86}")) }
  end

  test "a header of another form is refused without a request" do
    valid = @signer.sign(BODY)
    [
      nil, "", "x", valid + " ", " " + valid, valid + "\n", valid + ",v=1", valid.chop, valid + "A", valid.sub("t=", "t=-"), valid.sub("t=", "t=+"),
      valid.sub("ds_1", ""), valid.sub("ds_1", "ds 1"), valid.sub("ds_1", "x" * 129), valid.sub(/t=\d+/, "t=9999999999999"), valid.sub("ed25519", "hmac"),
      valid.sub(/(t=\d+),(kid=ds_1)/, '\2,\1'), "#{valid},#{valid}", valid.sub(/.\z/, "="), valid.sub(/.\z/, "é"), valid.sub(/.\z/, "\xff"), "t=1,kid=,ed25519="
    ].each do |header|
      assert_refused(:MalformedSignature) { DurableStreams::Webhook.verify(BODY, header) }
    end
    assert_empty @server.requests
  end

  test "a signature is accepted for five minutes before and after its time" do
    [ -300, 300 ].each { |seconds| assert verify(BODY, time: Time.now.to_i + seconds) }
    assert_refused(:StaleSignature, /301 s old/) { verify(BODY, time: Time.now.to_i - 301) }
    assert_refused(:StaleSignature, /301 s ahead of this machine's clock/) { verify(BODY, time: Time.now.to_i + 301) }
  end

  test "a body that is too large is refused before it is hashed" do
    body = "x" * (DurableStreams::Webhook::MAX_BODY_BYTES + 1)
    assert_refused(:BodyTooLarge) { verify(body) }
    assert_empty @server.requests
  end

  test "a signed body of another form is refused" do
    [ "", "x", "[]", "1", "{}", "\xff", "[" * 1_000, BODY.sub("\"generation\":7", "\"generation\":\"7\""), BODY.sub('"wake_id":"w_1"', '"wake_id":1'),
      BODY.sub("callback_token", "token"), BODY.sub('"path":"a"', '"path":1'), BODY.sub(/"streams":.*\z/, '"streams":{}}'), BODY.sub('"streams":[', '"streams":[1,') ].each do |body|
      assert_refused(:InvalidBody) { verify(body) }
    end
  end

  test "keys are cached for their max-age within bounds" do
    { "max-age=0" => 60, "public, max-age=300" => 300, "max-age=999999999" => 3600, nil => 60, "max-age=x" => 60 }.each do |cache_control, seconds|
      DurableStreams.reset_connections
      publish @signer, cache_control: cache_control
      count = requests
      clock_at(0) { verify(BODY) }
      clock_at(seconds - 1) { verify(BODY) }
      assert_equal 1, requests - count, cache_control
      clock_at(seconds + 1) { verify(BODY) }
      assert_equal 2, requests - count, cache_control
    end
  end

  test "a new key is fetched when it is first used" do
    clock_at(0) { verify(BODY) }
    rotated = WebhookSigner.new("ds_2")
    publish @signer, rotated
    clock_at(6) { assert DurableStreams::Webhook.verify(BODY, rotated.sign(BODY)) }
    assert_equal 2, requests
  end

  test "unknown keys cause one request every five seconds" do
    stranger = WebhookSigner.new("stranger")
    clock_at(0) { 20.times { assert_refused(:UnknownKey, /stranger/) { DurableStreams::Webhook.verify(BODY, stranger.sign(BODY)) } } }
    assert_equal 1, requests
    clock_at(4.9) { 20.times { |at| assert_refused(:UnknownKey) { DurableStreams::Webhook.verify(BODY, WebhookSigner.new("s#{at}").sign(BODY)) } } }
    assert_equal 1, requests
    clock_at(5.1) { 20.times { assert_refused(:UnknownKey) { DurableStreams::Webhook.verify(BODY, stranger.sign(BODY)) } } }
    assert_equal 2, requests
    clock_at(5.2) { verify(BODY) }
    assert_equal 2, requests
  end

  test "a withdrawn key is not accepted any longer" do
    clock_at(0) { verify(BODY) }
    publish WebhookSigner.new("ds_2")
    clock_at(301) { assert_refused(:UnknownKey) { verify(BODY) } }
  end

  test "cached keys are used for an hour while the server is unavailable" do
    clock_at(0) { verify(BODY) }
    @server.stop
    @server.close_connections
    clock_at(310) { verify(BODY) }
    clock_at(300 + 3_590) { verify(BODY) }
    clock_at(300 + 3_610) { assert_raises(DurableStreams::ConnectionError) { verify(BODY) } }
  end

  test "without keys nothing is accepted" do
    @server.stop
    error = assert_raises(DurableStreams::ConnectionError) { verify(BODY) }
    assert_match "cannot be reached", error.message
    assert_raises(DurableStreams::ConnectionError) { verify(BODY) }
  end

  test "a document that is not a key set is an error" do
    [ "x", "[]", "{}", '{"keys":1}', '{"keys":[1,null]}', "x" * 70_000 ].each do |document|
      DurableStreams.reset_connections
      @server.answer("/v1/streams/__ds/jwks.json") { [ 200, {}, document ] }
      error = assert_raises(DurableStreams::Error, document.first(20)) { verify(BODY) }
      assert [ DurableStreams::ConnectionError, DurableStreams::Webhook::UnknownKey ].include?(error.class), error.class.name
    end
  end

  test "a document that is not a key set replaces no keys, and is asked for again" do
    verify(BODY)
    [ "<html>Back soon</html>", '{"message":"Back soon"}' ].each_with_index do |document, at|
      @server.answer("/v1/streams/__ds/jwks.json") { [ 200, {}, document ] }
      clock_at(310 + 10 * at) { verify(BODY) }
      assert_equal 2 + at, requests
    end
  end

  test "keys for another purpose are ignored" do
    jwk = @signer.jwk
    [ { "use" => "enc" }, { "kty" => "EC" }, { "crv" => "X25519" }, { "alg" => "ES256" }, { "x" => "short" }, { "x" => 1 }, { "kid" => 1 } ].each do |change|
      DurableStreams.reset_connections
      publish jwk.merge(change)
      assert_refused(:UnknownKey) { verify(BODY) }
    end
  end

  private
    def verify(body, time: Time.now.to_i)
      DurableStreams::Webhook.verify(body, @signer.sign(body, time: time))
    end

    def publish(*keys, cache_control: "public, max-age=300")
      document = { keys: keys.map { |key| key.is_a?(WebhookSigner) ? key.jwk : key } }.to_json
      @server.answer("/v1/streams/__ds/jwks.json") { [ 200, { "Content-Type" => "application/jwk-set+json", "Cache-Control" => cache_control }.compact, document ] }
    end

    def requests
      @server.requests.size
    end

    def clock_at(seconds, &block)
      @started_at ||= DurableStreams::Rails::MonotonicClock.now
      DurableStreams::Rails::MonotonicClock.stub(:now, @started_at + seconds, &block)
    end

    def assert_refused(name, message = nil, &block)
      error = assert_raises(DurableStreams::Webhook.const_get(name), &block)
      assert_match message, error.message if message
    end
end
