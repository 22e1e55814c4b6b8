# frozen_string_literal: true

require "generated_helper"
require "digest"
require "rails"
require "durable_streams/rails"
require_relative "../support/archive_server"

# bin/durable-streams, and the download task beside it.
class BinstubTest < ActiveSupport::TestCase
  FAKE_SERVER = "#!/bin/sh\necho \"server $(pwd) $*\"\n"

  setup do
    @app = GeneratedApp.create("--minimal")
    @app.run("bin/rails", "generate", "durable_streams:install")
    @app.run("bin/rails", "durable_streams:generate_keys")
    @platform = DurableStreams::Rails::ServerBinary::PLATFORMS.fetch(DurableStreams::Rails::ServerBinary.ruby_platform)
    @archive = "durable-streams-server-0.1.0-#{@platform}.tar.gz"
    @mirror = @app.expand("tmp/mirror")
    @sha256 = pack_archive
  end

  teardown { @app.delete }

  test "a binary of one's own" do
    @app.write "tmp/own", FAKE_SERVER
    File.chmod 0o755, @app.expand("tmp/own")

    assert_equal "server #{@app.root} --config config/durable_streams.yml --env development\n", binstub("DURABLE_STREAMS_BINARY" => @app.expand("tmp/own"))
    assert_equal "server #{@app.root} --config /etc/ds.toml --env production check\n",
      binstub("check", "DURABLE_STREAMS_BINARY" => @app.expand("tmp/own"), "DURABLE_STREAMS_CONFIG" => "/etc/ds.toml", "RAILS_ENV" => "production")
    assert_match "not an executable file", binstub("DURABLE_STREAMS_BINARY" => "/nowhere")
  end

  test "a developer's keys are made, and a deployed server's are asked for" do
    install_fake
    FileUtils.rm_rf @app.expand("config/keys")
    output = binstub
    assert_match "bin/durable-streams: there is no config/keys/verify_key.pem yet", output
    assert_match "Wrote config/keys/signing_key.pem", output
    assert_match "server #{@app.root}", output
    assert_equal "server #{@app.root} --config config/durable_streams.yml --env development\n", binstub

    FileUtils.rm_rf @app.expand("config/keys")
    assert_match "there is no config/durable_streams_verify_key.pem. bin/rails durable_streams:generate_keys FOR=production makes it", binstub("RACK_ENV" => "production")
    assert_not @app.exist?("config/keys")
    binstub("DURABLE_STREAMS_CONFIG" => "/etc/ds.toml")
    assert_not @app.exist?("config/keys")
  end

  test "a Caddyfile" do
    install_fake
    output = binstub("DURABLE_STREAMS_CONFIG" => "/etc/caddy/Caddyfile")
    assert_match "DURABLE_STREAMS_CONFIG is /etc/caddy/Caddyfile, a Caddyfile, and the server reads YAML or TOML", output
    assert_equal 1, output.lines.size
  end

  test "the binstub and the task take the same places to fetch from" do
    relative = @mirror.delete_prefix("#{@app.root}/")
    spaced = @app.expand("tmp/a mirror")
    FileUtils.cp_r @mirror, spaced
    [ @mirror, relative, spaced, "file://#{@mirror}", "file://#{spaced.gsub(" ", "%20")}" ].each do |place|
      env = { "DURABLE_STREAMS_DOWNLOAD_URL" => place, "DURABLE_STREAMS_SHA256" => @sha256 }
      FileUtils.rm_rf @app.expand("bin/dist")
      assert_match "server #{@app.root} --config", binstub(env), place
      FileUtils.rm_rf @app.expand("bin/dist")
      assert_match "is ready", download(env), place
    end
    assert_match "could not be fetched", binstub("DURABLE_STREAMS_DOWNLOAD_URL" => "/nowhere", "DURABLE_STREAMS_VERSION" => "9.9.9", "DURABLE_STREAMS_SHA256" => @sha256)
  end

  test "starts from any directory" do
    install_fake
    output = @app.run(@app.expand("bin/durable-streams"), directory: "/")
    assert_equal "server #{@app.root} --config config/durable_streams.yml --env development\n", output
  end

  test "fetches what is missing and checks it" do
    assert_match "no checksum is known for #{@archive}", binstub(mirror)
    assert_match(/has the checksum #{@sha256}, and should have 0{64}/, binstub(mirror("DURABLE_STREAMS_SHA256" => "0" * 64)))
    assert_equal [], Dir.children(@app.expand("bin/dist"))

    assert_match "server #{@app.root} --config", binstub(mirror("DURABLE_STREAMS_SHA256" => @sha256))
    assert_equal [ "durable-streams-server-0.1.0" ], Dir.children(@app.expand("bin/dist"))
    assert_equal "server #{@app.root} --config config/durable_streams.yml --env development\n", binstub
  end

  test "goes on with what broke off" do
    fetch_in_two = ->(resumes) do
      FileUtils.rm_rf @app.expand("bin/dist")
      server = ArchiveServer.new(@mirror)
      server.resumes = resumes
      server.break_off_after = 100
      env = { "DURABLE_STREAMS_DOWNLOAD_URL" => server.url, "DURABLE_STREAMS_SHA256" => @sha256 }
      assert_match "could not be fetched. What arrived is kept", binstub(env)
      assert_match "server #{@app.root} --config", binstub(env)
      server.ranges
    ensure
      server.stop
    end

    assert_equal [ nil, "bytes=100-" ], fetch_in_two.(true)
    assert_equal [ nil, "bytes=100-", nil ], fetch_in_two.(false)
  end

  test "says where it looked" do
    output = binstub("DURABLE_STREAMS_DOWNLOAD_URL" => "file:///nowhere", "DURABLE_STREAMS_SHA256" => @sha256)
    assert_match "file:///nowhere/#{@archive} could not be fetched", output
  end

  test "the task fetches too" do
    assert_match "no checksum is known for #{@archive}", download(mirror)
    assert_match "should have #{"0" * 64}", download(mirror("DURABLE_STREAMS_SHA256" => "0" * 64))
    assert_match "is ready", download(mirror("DURABLE_STREAMS_SHA256" => @sha256))
    assert_match "is there", download({})
    assert_equal "server #{@app.root} --config config/durable_streams.yml --env development\n", binstub
  end

  test "the task says what it knows of an unknown version" do
    assert_match "no checksum is known for durable-streams-server-9.9.9-#{@platform}", download("DURABLE_STREAMS_VERSION" => "9.9.9")
  end

  test "nobody is sent to a name of somebody else's" do
    [ @app.read("bin/durable-streams"), binstub("DURABLE_STREAMS_VERSION" => "9.9.9"), download("DURABLE_STREAMS_VERSION" => "9.9.9") ].each do |text|
      assert_no_match(/cargo install|gem install durable|bundle add/, text)
    end
  end

  private
    def binstub(*arguments)
      env = arguments.extract_options!
      @app.run("bin/durable-streams", *arguments, env: env, expect_success: false)
    end

    def download(env)
      @app.run("bin/rails", "durable_streams:download", env: env, expect_success: false)
    end

    def mirror(env = {})
      { "DURABLE_STREAMS_DOWNLOAD_URL" => "file://#{@mirror}" }.merge(env)
    end

    def pack_archive
      @app.write "tmp/pack/durable-streams-server", FAKE_SERVER
      FileUtils.mkdir_p @mirror
      @app.run("tar", "-czf", File.join(@mirror, @archive), "-C", "tmp/pack", "durable-streams-server")
      Digest::SHA256.file(File.join(@mirror, @archive)).hexdigest
    end

    def install_fake
      @app.write "bin/dist/durable-streams-server-0.1.0", FAKE_SERVER
      File.chmod 0o755, @app.expand("bin/dist/durable-streams-server-0.1.0")
    end
end
