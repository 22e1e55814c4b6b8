# frozen_string_literal: true

require "generated_helper"

class InstallGeneratorTest < ActiveSupport::TestCase
  teardown { @app&.delete }

  test "running the generator twice changes nothing" do
    app = create_app
    assert_match(/^Next: bin\/dev\.$/, generate)

    assert_equal "web: bin/rails server\nstreams: bin/durable-streams\n", app.read("Procfile.dev")
    assert File.executable?(app.expand("bin/durable-streams"))
    assert File.executable?(app.expand("bin/dev"))
    assert_match "foreman start -f Procfile.dev", app.read("bin/dev")
    assert_match %r{^/bin/dist/$}, app.read(".gitignore")
    assert_match %r{^/config/keys/$}, app.read(".gitignore")
    assert_match "DURABLE_STREAMS_VERSION:-0.1.0", app.read("bin/durable-streams")
    app.run("sh", "-n", "bin/durable-streams")

    assert_nothing_changed { generate }

    app.write "config/durable_streams.yml", "# edited"
    generate
    assert_equal "# edited", app.read("config/durable_streams.yml")
  end

  test "the generator asks before it overwrites the binstub, and keeps the version" do
    create_app
    generate("--version=0.0.9")
    edited = @app.read("bin/durable-streams") + "# mine\n"
    @app.write "bin/durable-streams", edited

    assert_match(/Overwrite .*bin\/durable-streams\?/, generate(answer: "n\n"))
    assert_equal edited, @app.read("bin/durable-streams")
    generate("--skip")
    assert_equal edited, @app.read("bin/durable-streams")
    assert_match "still runs server 0.0.9; this gem's version is --version=0.1.0", generate("--force")
    assert_equal edited.delete_suffix("# mine\n"), @app.read("bin/durable-streams")
    assert File.executable?(@app.expand("bin/durable-streams"))
    generate("--version=0.1.0", "--force")
    assert_match "DURABLE_STREAMS_VERSION:-0.1.0", @app.read("bin/durable-streams")
    assert_match "--version must be", @app.run("bin/rails", "generate", "durable_streams:install", "--version=;rm", expect_success: false)
  end

  test "existing files are extended" do
    create_app
    @app.write "Procfile.dev", "web: bin/rails server -p 4000"
    @app.write "bin/dev", "#!/bin/sh\nexec overmind start -f Procfile.dev\n"
    @app.write ".gitignore", "/bin/dist\n"
    assert_match(/^Next: bin\/dev\.$/, generate)

    assert_equal "web: bin/rails server -p 4000\nstreams: bin/durable-streams\n", @app.read("Procfile.dev")
    assert_equal "#!/bin/sh\nexec overmind start -f Procfile.dev\n", @app.read("bin/dev")
    assert_equal "/bin/dist\n/config/keys/\n", @app.read(".gitignore")
  end

  test "a bin/dev without a Procfile is not changed" do
    create_app
    own = "#!/usr/bin/env ruby\nexec \"./bin/rails\", \"server\", \"--port=4000\", *ARGV\n"
    @app.write "bin/dev", own
    assert_match(/^Next: bin\/durable-streams and, beside it, bin\/dev, which runs no Procfile in this app/, generate)
    assert_equal own, @app.read("bin/dev")
    assert_not @app.exist?("Procfile.dev")
  end

  test "--skip-procfile can be undone" do
    create_app
    @app.write "bin/dev", "#!/usr/bin/env ruby\nexec \"./bin/rails\", \"server\", *ARGV\n"
    assert_match(/^Next: bin\/durable-streams and, beside it, bin\/rails server\.$/, generate("--skip-procfile"))
    assert_not @app.exist?("Procfile.dev")
    generate
    assert_match "foreman", @app.read("bin/dev")
  end

  test "destroy reverts the generator" do
    create_app
    @app.write ".gitignore", "/log/\n"
    @app.run("bin/rails", "version") # Bundler writes Gemfile.lock.
    output = assert_nothing_changed do
      generate
      @app.run("bin/rails", "destroy", "durable_streams:install")
    end
    assert_no_match(/Next/, output)
    assert_match "the gem in the Gemfile", output

    @app.write "Procfile.dev", "web: bin/rails server\ncss: bin/tailwind\n"
    generate
    FileUtils.mkdir_p @app.expand("config/keys")
    assert_match "config/keys still exists and is ignored", @app.run("bin/rails", "destroy", "durable_streams:install")
    assert_equal "web: bin/rails server\ncss: bin/tailwind\n", @app.read("Procfile.dev")
    assert_equal "/log/\n/config/keys/\n", @app.read(".gitignore")
  end

  private
    def create_app
      @app = GeneratedApp.create("--minimal")
    end

    def assert_nothing_changed
      before = @app.snapshot
      yield.tap do
        after = @app.snapshot
        assert_empty((before.keys | after.keys).select { |path| before[path] != after[path] })
      end
    end

    def generate(*options, answer: "")
      @app.run("bin/rails", "generate", "durable_streams:install", *options, input: answer)
    end
end
