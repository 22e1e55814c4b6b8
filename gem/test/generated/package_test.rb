# frozen_string_literal: true

require "generated_helper"
require "digest"
require "rails"
require "durable_streams/rails"

# rake package with a stand-in for the server, and what comes out of it
# installed and fetched.
class PackageTest < ActiveSupport::TestCase
  FAKE_SERVER = "#!/bin/sh\necho \"packaged $*\"\n"

  setup do
    @directory = Dir.mktmpdir
    FileUtils.cp_r GeneratedApp::GEM_ROOT, "#{@directory}/gem"
    %w[ dist pkg ].each { |name| FileUtils.rm_rf "#{@directory}/gem/#{name}" }
    @platform = DurableStreams::Rails::ServerBinary::PLATFORMS.fetch(DurableStreams::Rails::ServerBinary.ruby_platform)
    FileUtils.mkdir_p "#{@directory}/gem/dist/#{@platform}"
    File.write "#{@directory}/gem/dist/#{@platform}/durable-streams-server", FAKE_SERVER, perm: 0o755
  end

  teardown { FileUtils.rm_rf @directory }

  test "an archive, its checksum, and a gem that carries the binary" do
    rake "package:gems"
    archive = "durable-streams-server-0.1.0-#{@platform}.tar.gz"
    manifest = File.read("#{@directory}/gem/lib/durable_streams/rails/SHA256SUMS")
    sha256 = Digest::SHA256.file("#{@directory}/gem/pkg/#{archive}").hexdigest
    assert_includes manifest.lines, "#{sha256}  #{archive}\n"

    rake "package:gems"
    assert_equal manifest, File.read("#{@directory}/gem/lib/durable_streams/rails/SHA256SUMS"), "the same binary gives the same archive"

    platform = DurableStreams::Rails::ServerBinary.ruby_platform
    assert_equal %W[ durable_streams-rails-0.1.0-#{platform}.gem durable_streams-rails-0.1.0.gem ], Dir.children("#{@directory}/gem/pkg").grep(/gem$/).sort
    run_command "gem", "unpack", "pkg/durable_streams-rails-0.1.0-#{platform}.gem", "--target", @directory
    unpacked = "#{@directory}/durable_streams-rails-0.1.0-#{platform}"
    assert_equal "packaged --version\n", run_command("ruby", "#{unpacked}/exe/durable-streams", "--version")
    run_command "gem", "unpack", "pkg/durable_streams-rails-0.1.0.gem", "--target", @directory
    assert_match "carries no server", run_command("ruby", "#{@directory}/durable_streams-rails-0.1.0/exe/durable-streams", expect_success: false)

    fetch_with unpacked, {}, /taken from the gem/
    fetch_with "#{@directory}/durable_streams-rails-0.1.0", { "DURABLE_STREAMS_DOWNLOAD_URL" => "file://#{@directory}/gem/pkg" }, /is ready/
  end

  test "what cannot be built is refused with a reason" do
    other = @platform == "darwin-x86_64" ? "linux-x86_64" : "darwin-x86_64"
    output = rake("package:build", "PLATFORMS=#{other}", expect_success: false)
    assert_match(/#{other} is not built: /, output)
    assert_match "unknown platforms plan9", rake("package:build", "PLATFORMS=plan9", expect_success: false)
  end

  private
    def rake(*arguments, **options)
      run_command("bundle", "exec", "rake", *arguments, **options)
    end

    # The download task's work, with the manifest of that copy of the gem.
    def fetch_with(gem_root, env, message)
      app = Dir.mktmpdir
      output = run_command "ruby", "-I", "#{gem_root}/lib", "-r", "durable_streams/rails/server_binary",
        "-e", "DurableStreams::Rails::ServerBinary.new(root: ARGV[0]).download", app, env: env
      assert_match message, output
      assert_equal "packaged \n", run_command("#{app}/bin/dist/durable-streams-server-0.1.0")
    ensure
      FileUtils.rm_rf app
    end

    def run_command(*command, env: {}, expect_success: true)
      output, status = Bundler.with_unbundled_env { Open3.capture2e({ "DURABLE_STREAMS_BINARY" => nil, **env }, *command, chdir: "#{@directory}/gem") }
      raise "#{command.join(" ")}: #{output}" if status.success? != expect_success
      output
    end
end
