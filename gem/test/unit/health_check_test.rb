# frozen_string_literal: true

require "test_helper"

class HealthCheckTest < StubServerTestCase
  App = Struct.new(:root) do
    def config_for(path, env: "test")
      Rails.application.config_for(path, env: env)
    end
  end

  setup do
    @root = Pathname(Dir.mktmpdir)
    @key = OpenSSL::PKey::EC.generate("prime256v1")
    configure(client_url: @server.url, signing_key: @key, token_issuer: "test", token_audience: nil)
    write "keys/verify_key.pem", @key.public_to_pem
  end

  teardown { FileUtils.rm_rf @root }

  test "an app that matches its server has no problems" do
    assert_empty problems
    assert_empty problems("shared" => { "port" => @server.port }, "test" => section.except("port"))
    assert_empty problems("test" => section("auth" => auth("verify_key" => "keys")))
    write "keys/jwks.json", { keys: [ { kty: "oct" }, JWT::JWK.new(OpenSSL::PKey.read(@key.public_to_pem)).export ] }.to_json
    assert_empty problems("test" => section("auth" => auth("verify_key" => "keys/jwks.json")))
  end

  test "the ports and routes of local addresses are compared" do
    assert_equal [
      "client_url is #{@server.url}, but the server of config/durable_streams.yml listens on port 1: DURABLE_STREAMS_PORT sets both",
      "server_url is #{@server.url}, but the server of config/durable_streams.yml listens on port 1: DURABLE_STREAMS_PORT sets both"
    ], problems("test" => section("port" => 1))
    assert_match "listens on port 4437:", problems("test" => section.except("port")).first
    assert_match "listens on port 443:", problems("test" => section("domain" => "streams.example.com")).first
    assert_empty problems("test" => section("port" => 1, "internal" => { "port" => @server.port }))
    assert_empty problems({ "test" => section("port" => 1) }, env: { "DS_SERVER__BIND_ADDRESS" => "127.0.0.1:#{@server.port}" })
    assert_match "must end with the server's route, /streams", problems("test" => section("route" => "/streams/*")).first
    DurableStreams.client_url = "https://streams.example.com/elsewhere"
    DurableStreams.config.token_audience = @server.url
    assert_empty problems
    DurableStreams.client_url = "streams.example.com/v1/streams"
    assert_match "must be an http:// or https:// URL", problems.first
  end

  test "keys are compared" do
    write "keys/other.pem", OpenSSL::PKey::EC.generate("prime256v1").public_to_pem
    assert_equal [ "auth.verify_key (keys/other.pem) does not contain the public key of config.durable_streams.signing_key" ],
      problems("test" => section("auth" => auth("verify_key" => "keys/other.pem")))
    assert_equal [ "auth.verify_key (keys/nowhere.pem) does not exist: bin/rails durable_streams:generate_keys creates it" ],
      problems("test" => section("auth" => auth("verify_key" => "keys/nowhere.pem")))
    write "keys/private.pem", @key.private_to_pem
    assert_equal [ "auth.verify_key (keys/private.pem) contains no public key" ], problems("test" => section("auth" => auth("verify_key" => "keys/private.pem")))
    assert_equal [ "auth.verify_key is not set in config/durable_streams.yml" ], problems("test" => section.except("auth"))
    DurableStreams.config.signing_key = nil
    assert_match(/\Aconfig.durable_streams.signing_key is not set/, problems.sole)
  end

  test "issuer and audience are compared" do
    assert_equal [ 'auth.issuer is "a", but config.durable_streams.token_issuer is "test"', "auth.audience is [\"b\", \"c\"], but config.durable_streams.token_audience is #{@server.url.inspect}" ],
      problems("test" => section("auth" => auth("issuer" => "a", "audience" => %w[ b c ])))
  end

  test "the configuration is the file that bin/durable-streams reads" do
    assert_empty problems("other.yml", "test" => section)
    assert_equal [ "config/durable_streams.yml does not exist: bin/rails generate durable_streams:install creates it" ], check({}).problems
    assert_match "Caddyfile, but the server reads YAML", check("DURABLE_STREAMS_CONFIG" => "Caddyfile").problems.first
    assert_equal [ "config/durable_streams.yml has no section test" ], problems("production" => section)
    assert_match(/cannot be read: .*NOT_THERE/, problems("test: <%= ENV.fetch('NOT_THERE') %>").sole)
    assert_match "cannot be read", problems("test: [").sole
    write "server.toml", ""
    checkup = check("DURABLE_STREAMS_CONFIG" => "server.toml")
    assert_empty checkup.problems
    assert_equal [ "server.toml is TOML, which this task does not compare: run bin/durable-streams check" ], checkup.notes
  end

  test "subscriptions are compared" do
    configure webhook_url: "https://app.example.com/durable_streams/webhook"
    @subscription = PostNotesHandler.subscription
    existing = @subscription.configuration.deep_stringify_keys
    answer = nil
    @server.answer("/v1/streams/__ds/subscriptions/dummy-post-notes") { answer ? [ 200, {}, answer.to_json ] : [ 404 ] }

    assert_equal [ "PostNotesHandler has no subscription on the server: bin/rails durable_streams:subscriptions:sync creates it" ], problems
    answer = existing.merge("status" => "active")
    assert_empty problems
    answer = existing.merge("lease_ttl_ms" => 1000)
    assert_equal [ "the subscription dummy-post-notes differs: lease_ttl_ms is 1000 on the server and 3000 in PostNotesHandler" ], problems
    answer = existing.merge("status" => "failed")
    assert_equal [ "the server cannot deliver to https://app.example.com/durable_streams/webhook for PostNotesHandler; its log says why" ], problems
    configure webhook_url: nil
    assert_match "webhook_url is not set", problems.sole
  end

  private
    def section(overrides = {})
      { "port" => @server.port, "auth" => auth }.merge(overrides)
    end

    def auth(overrides = {})
      { "verify_key" => "keys/verify_key.pem", "issuer" => "test", "audience" => @server.url }.merge(overrides)
    end

    def problems(path = "config/durable_streams.yml", content = nil, env: {}, **sections)
      path, content = "config/durable_streams.yml", path if path.is_a?(Hash) || path.include?(":")
      content ||= sections.presence&.stringify_keys || { "test" => section }
      write path, content.is_a?(String) ? content : content.to_yaml
      check({ "DURABLE_STREAMS_CONFIG" => path }.merge(env)).problems
    end

    def check(env)
      DurableStreams::Rails::HealthCheck.new(App.new(@root), env: env, subscriptions: [ @subscription ].compact)
    end

    def write(path, content)
      FileUtils.mkdir_p @root.join(path).dirname
      @root.join(path).write(content)
    end
end
