# frozen_string_literal: true

require "generated_helper"

class InstallGeneratorTest < ActiveSupport::TestCase
  test "in a minimal app, twice" do
    app = GeneratedApp.create("--minimal")
    app.run("bin/rails", "generate", "durable_streams:install")

    assert_equal "web: bin/rails server\nstreams: bin/durable-streams\n", app.read("Procfile.dev")
    assert File.executable?(app.expand("bin/durable-streams"))
    assert File.executable?(app.expand("bin/dev"))
    assert_match "foreman start -f Procfile.dev", app.read("bin/dev")
    assert_match %r{^/bin/dist/$}, app.read(".gitignore")
    assert_match %r{^/config/keys/$}, app.read(".gitignore")
    assert_match "DURABLE_STREAMS_VERSION:-0.1.0", app.read("bin/durable-streams")
    app.run("sh", "-n", "bin/durable-streams")

    before = app.snapshot
    app.run("bin/rails", "generate", "durable_streams:install")
    assert_equal before, app.snapshot

    app.write "config/durable_streams.yml", "# edited"
    app.run("bin/rails", "generate", "durable_streams:install")
    assert_equal "# edited", app.read("config/durable_streams.yml")
  ensure
    app&.delete
  end

  test "in an app with a Procfile.dev, a bin/dev and a .gitignore, with options" do
    app = GeneratedApp.create("--minimal")
    app.write "Procfile.dev", "web: bin/rails server -p 4000"
    app.write "bin/dev", "#!/bin/sh\nexec overmind\n"
    app.write ".gitignore", "/bin/dist\n"
    app.run("bin/rails", "generate", "durable_streams:install", "--version=0.0.9")

    assert_equal "web: bin/rails server -p 4000\nstreams: bin/durable-streams\n", app.read("Procfile.dev")
    assert_equal "#!/bin/sh\nexec overmind\n", app.read("bin/dev")
    assert_equal "/bin/dist\n/config/keys/\n", app.read(".gitignore")
    assert_match "DURABLE_STREAMS_VERSION:-0.0.9", app.read("bin/durable-streams")

    assert_match "--version must be", app.run("bin/rails", "generate", "durable_streams:install", "--version=;rm", expect_success: false)

    File.delete app.expand("Procfile.dev")
    app.write "bin/dev", "#!/usr/bin/env ruby\nexec \"./bin/rails\", \"server\", *ARGV\n"
    app.run("bin/rails", "generate", "durable_streams:install", "--skip-procfile")
    assert_not app.exist?("Procfile.dev")
    app.run("bin/rails", "generate", "durable_streams:install")
    assert_match "foreman", app.read("bin/dev")
  ensure
    app&.delete
  end
end
