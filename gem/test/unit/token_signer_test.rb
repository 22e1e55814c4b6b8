# frozen_string_literal: true

require "test_helper"
require "pp"

class TokenSignerTest < ActiveSupport::TestCase
  setup do
    @key = OpenSSL::PKey::EC.generate("prime256v1")
    @config = DurableStreams::Rails::Settings.new.merge!(client_url: "https://streams.example.com/v1/streams", signing_key: @key, token_issuer: "https://app.example.com")
    @token_signer = DurableStreams::Rails::TokenSigner.new(@config)
    freeze_time
  end

  test "a client token allows one stream and has a limited lifetime" do
    claims, header = decode(@token_signer.client_token("gid://app/Room/1", permissions: %i[ read write ], identity: 7))

    assert_equal({
      "stream" => "gid://app/Room/1", "permissions" => %w[ read write ], "identity" => "7",
      "iss" => "https://app.example.com", "aud" => "https://streams.example.com/v1/streams",
      "iat" => Time.now.to_i, "exp" => 15.minutes.from_now.to_i
    }, claims)
    assert_equal({ "alg" => "ES256" }, header)
  end

  test "a client token without options allows reading and has no identity" do
    claims, = decode(@token_signer.client_token("a", expires_in: 1.hour))

    assert_equal 1.hour.from_now.to_i, claims["exp"]
    assert_equal %w[ read ], claims["permissions"]
    assert_not_includes claims, "identity"
  end

  test "expires_in and expires_at set the expiry" do
    {
      { expires_in: 1.hour } => 1.hour, { expires_in: 90 } => 90.seconds, { expires_in: 1.5.hours } => 90.minutes,
      { expires_at: 1.hour.from_now } => 1.hour, { expires_at: Time.now + 60 } => 60.seconds, { expires_at: DateTime.now + 1 } => 1.day, {} => 15.minutes
    }.each do |options, lifetime|
      assert_equal lifetime.from_now.to_i, decode(@token_signer.client_token("a", **options)).first["exp"], options.inspect
    end
  end

  test "invalid expiries raise" do
    [ 1.hour.from_now, Time.now + 60, DateTime.now, "1 hour", "3600", 0, -5, 0.seconds, -1.hour, 0.5.seconds, 3600.0, :hour, false, [], Date.tomorrow ].each do |expires_in|
      assert_raises(ArgumentError, expires_in.inspect) { @token_signer.client_token("a", expires_in: expires_in) }
    end
    [ 1.hour, 3600, "2099-01-01", Date.tomorrow, Time.now, 1.minute.ago, false ].each do |expires_at|
      assert_raises(ArgumentError, expires_at.inspect) { @token_signer.client_token("a", expires_at: expires_at) }
    end
    [ { expires_in: 10**12 }, { expires_in: 10_000.years }, { expires_at: Time.at(Time.now.to_i * 1000) } ].each do |options|
      assert_match "after the year 9999", assert_raises(ArgumentError) { @token_signer.client_token("a", **options) }.message
    end
    assert_raises(ArgumentError) { @token_signer.client_token("a", expires_in: 60, expires_at: 1.hour.from_now) }
    assert_match "use expires_at:", assert_raises(ArgumentError) { @token_signer.client_token("a", expires_in: 1.hour.from_now) }.message
    @config.signed_stream_url_expires_in = "1 hour"
    assert_raises(ArgumentError) { @token_signer.client_token("a") }
  end

  test "inspecting reveals neither keys nor tokens" do
    @token_signer.server_token
    transport = DurableStreams::Rails::HttpTransport.new("http://localhost/v1/streams", token_signer: @token_signer, config: @config)
    [ @token_signer, transport, [ @token_signer ], { transport: transport } ].each do |object|
      assert_no_match(/PRIVATE|eyJ|PKey|@/, object.inspect)
      assert_no_match(/PRIVATE|eyJ|PKey|@config/, object.pretty_inspect)
    end
  end

  test "an invalid identity raises" do
    [ "", " ", Object.new, [ 1 ], { id: 1 }, true, Struct.new(:id) ].each do |identity|
      identity = identity.new(1) if identity.is_a?(Class)
      assert_raises(ArgumentError, identity.inspect) { @token_signer.client_token("a", identity: identity) }
    end
  end

  test "unknown permissions raise" do
    assert_raises(ArgumentError) { @token_signer.client_token("a", permissions: :delete) }
    assert_raises(ArgumentError) { @token_signer.client_token("a", permissions: []) }
  end

  test "the app's own token has the key's id and the configured audience" do
    @config.merge!(signing_kid: "2026", token_audience: "streams")
    claims, header = decode(@token_signer.server_token, "streams")

    assert_equal({ "server" => "rails", "iss" => "https://app.example.com", "aud" => "streams", "iat" => Time.now.to_i, "exp" => Time.now.to_i + 120 }, claims)
    assert_equal "2026", header["kid"]
  end

  test "the app's own token is reused for half of its lifetime" do
    clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    first = @token_signer.server_token
    at(clock + 59) { assert_same first, @token_signer.server_token }
    at(clock + 61) { assert_not_equal first, @token_signer.server_token }
  end

  test "the key may be a PEM" do
    @config.signing_key = @key.private_to_pem
    assert decode(@token_signer.server_token)
  end

  test "unsuitable keys raise" do
    {
      nil => /durable_streams:generate_keys/,
      "nonsense" => /as a PEM key/,
      @key.public_to_pem => /not a private EC key/,
      OpenSSL::PKey::EC.generate("secp384r1").private_to_pem => /P-256/,
      OpenSSL::PKey::RSA.new(2048).private_to_pem => /P-256/
    }.each do |key, message|
      @config.signing_key = key
      assert_match message, assert_raises(DurableStreams::ConfigurationError) { DurableStreams::Rails::TokenSigner.new(@config).server_token }.message
    end
  end

  private
    def decode(token, audience = "https://streams.example.com/v1/streams")
      JWT.decode(token, @key, true, algorithm: "ES256", iss: "https://app.example.com", verify_iss: true, aud: audience, verify_aud: true)
    end

    def at(clock, &block)
      Process.stub(:clock_gettime, clock, &block)
    end
end
