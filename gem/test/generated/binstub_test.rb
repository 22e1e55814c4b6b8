# frozen_string_literal: true

require "generated_helper"
require "digest"
require "rails"
require "durable_streams/rails"
require_relative "../support/archive_server"

# bin/durable-streams and the download task.
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

  test "DURABLE_STREAMS_BINARY replaces the binary" do
    @app.write "tmp/own", FAKE_SERVER
    File.chmod 0o755, @app.expand("tmp/own")

    assert_equal "server #{@app.root} --config config/durable_streams.yml --env development\n", binstub("DURABLE_STREAMS_BINARY" => @app.expand("tmp/own"))
    assert_equal "server #{@app.root} --config /etc/ds.toml --env production check\n",
      binstub("check", "DURABLE_STREAMS_BINARY" => @app.expand("tmp/own"), "DURABLE_STREAMS_CONFIG" => "/etc/ds.toml", "RAILS_ENV" => "production")
    assert_match "not an executable file", binstub("DURABLE_STREAMS_BINARY" => "/nowhere")
  end

  test "keys are generated in development and required in production" do
    install_fake
    FileUtils.rm_rf @app.expand("config/keys")
    output = binstub
    assert_match "bin/durable-streams: generating the missing config/keys/verify_key.pem", output
    assert_match "Wrote config/keys/signing_key.pem", output
    assert_match "server #{@app.root}", output
    assert_equal "server #{@app.root} --config config/durable_streams.yml --env development\n", binstub

    FileUtils.rm_rf @app.expand("config/keys")
    assert_match "config/durable_streams_verify_key.pem does not exist. Create it with bin/rails durable_streams:generate_keys FOR=production", binstub("RACK_ENV" => "production")
    assert_not @app.exist?("config/keys")
    binstub("DURABLE_STREAMS_CONFIG" => "/etc/ds.toml")
    assert_not @app.exist?("config/keys")
  end

  test "a Caddyfile is refused" do
    install_fake
    output = binstub("DURABLE_STREAMS_CONFIG" => "/etc/caddy/Caddyfile")
    assert_match "DURABLE_STREAMS_CONFIG is /etc/caddy/Caddyfile, but the server does not read Caddyfiles", output
    assert_equal 1, output.lines.size
  end

  test "archives come from directories, file URLs and paths relative to the app" do
    relative = @mirror.delete_prefix("#{@app.root}/")
    spaced = @app.expand("tmp/a mirror")
    FileUtils.cp_r @mirror, spaced
    [ @mirror, relative, spaced, "file://#{@mirror}", "file://#{spaced.gsub(" ", "%20")}" ].each do |place|
      env = { "DURABLE_STREAMS_DOWNLOAD_URL" => place, "DURABLE_STREAMS_SHA256" => @sha256 }
      FileUtils.rm_rf @app.expand("bin/dist")
      assert_match "server #{@app.root} --config", binstub(env), place
    end
    assert_match "cannot download /nowhere/", binstub("DURABLE_STREAMS_DOWNLOAD_URL" => "/nowhere", "DURABLE_STREAMS_VERSION" => "9.9.9", "DURABLE_STREAMS_SHA256" => @sha256)
  end

  test "the binstub starts from any directory" do
    install_fake
    output = @app.run(@app.expand("bin/durable-streams"), directory: "/")
    assert_equal "server #{@app.root} --config config/durable_streams.yml --env development\n", output
  end

  test "downloads a missing binary and verifies its checksum" do
    assert_match "unknown checksum of #{@archive}", binstub(mirror)
    assert_match(/has the checksum #{@sha256} instead of 0{64}/, binstub(mirror("DURABLE_STREAMS_SHA256" => "0" * 64)))
    assert_equal [], Dir.children(@app.expand("bin/dist"))

    assert_match "server #{@app.root} --config", binstub(mirror("DURABLE_STREAMS_SHA256" => @sha256))
    assert_equal [ "durable-streams-server-0.1.0" ], Dir.children(@app.expand("bin/dist"))
    assert_equal "server #{@app.root} --config config/durable_streams.yml --env development\n", binstub
  end

  test "an interrupted download is resumed" do
    server = ArchiveServer.new(@mirror)
    server.break_off_after = 100
    env = { "DURABLE_STREAMS_DOWNLOAD_URL" => server.url, "DURABLE_STREAMS_SHA256" => @sha256 }
    assert_match "The next attempt resumes the download", binstub(env)
    assert_match "server #{@app.root} --config", binstub(env)
    assert_equal [ nil, "bytes=100-" ], server.ranges
  ensure
    server&.stop
  end

  test "a failed download names the archive" do
    output = binstub("DURABLE_STREAMS_DOWNLOAD_URL" => "file:///nowhere", "DURABLE_STREAMS_SHA256" => @sha256)
    assert_match "durable_streams:download: cannot download file:///nowhere/#{@archive}", output
  end

  test "the task downloads for the binstub" do
    assert_match "is ready", download(mirror("DURABLE_STREAMS_SHA256" => @sha256))
    assert_match "already exists", download({})
    assert_equal "server #{@app.root} --config config/durable_streams.yml --env development\n", binstub
  end

  test "the task refuses a version whose checksum is unknown" do
    assert_match "unknown checksum of durable-streams-server-9.9.9-#{@platform}", download("DURABLE_STREAMS_VERSION" => "9.9.9")
  end

  test "no advice names a package that belongs to somebody else" do
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
