# frozen_string_literal: true

require "generated_helper"
require "digest"
require "rails"
require "durable_streams/rails"
require_relative "../support/archive_server"

# rake package with a fake server, and the installation of its results.
class PackageTest < ActiveSupport::TestCase
  FAKE_SERVER = "#!/bin/sh\necho \"packaged $*\"\n"
  ARCHIVE = "durable-streams-server-0.1.0-%s.tar.gz"
  PLATFORMS = %w[ linux-x86_64 linux-arm64 darwin-arm64 darwin-x86_64 ]

  setup do
    @directory = Dir.mktmpdir
    FileUtils.cp_r GeneratedApp::GEM_ROOT, "#{@directory}/gem"
    %w[ dist pkg ].each { |name| FileUtils.rm_rf "#{@directory}/gem/#{name}" }
    @platform = DurableStreams::Rails::ServerBinary::PLATFORMS.fetch(DurableStreams::Rails::ServerBinary.ruby_platform)
    place_server @platform
  end

  teardown { FileUtils.rm_rf @directory }

  test "packaging creates an archive, its checksum, and a gem with the binary" do
    before = Dir["#{@directory}/gem/**/*"]
    output = rake "package:gems"
    assert_match "no archive and no gem for #{(PLATFORMS - [ @platform ]).first}", output
    assert_equal "#{sha256}  #{ARCHIVE % @platform}\n", File.read("#{@directory}/gem/pkg/SHA256SUMS")
    assert_equal [], (Dir["#{@directory}/gem/**/*"] - before).reject { |path| path.start_with?("#{@directory}/gem/pkg") }

    first = sha256
    rake "package:gems"
    assert_equal first, sha256, "the same binary gives the same archive"

    platform = DurableStreams::Rails::ServerBinary.ruby_platform
    assert_equal %W[ durable_streams-rails-0.1.0-#{platform}.gem durable_streams-rails-0.1.0.gem ], Dir.children("#{@directory}/gem/pkg").grep(/gem$/).sort
    carrier, plain = unpack("durable_streams-rails-0.1.0-#{platform}"), unpack("durable_streams-rails-0.1.0")
    assert_equal [ "exe/#{platform}", "exe/#{platform}/durable-streams-server" ], contents(carrier) - contents(plain)
    assert_equal "packaged --version\n", run_command("ruby", "#{carrier}/exe/durable-streams", "--version")
    assert_match "does not contain a server", run_command("ruby", "#{plain}/exe/durable-streams", expect_success: false)

    fetch_with carrier, {}, /copied .* from the gem/
    fetch_with plain, { "DURABLE_STREAMS_DOWNLOAD_URL" => "file://#{@directory}/gem/pkg" }, /is ready/
    server = ArchiveServer.new("#{@directory}/gem/pkg")
    fetch_with plain, { "DURABLE_STREAMS_DOWNLOAD_URL" => server.url }, /is ready/
  ensure
    server&.stop
  end

  test "the manifest lists all archives of a build and of earlier versions" do
    File.write "#{@directory}/gem/lib/durable_streams/rails/SHA256SUMS",
      "#{"0" * 64}  #{ARCHIVE % @platform}\n#{"1" * 64}  #{(ARCHIVE % @platform).sub("0.1.0", "0.0.9")}\n"
    other = (PLATFORMS - [ @platform ]).first
    rake "package:archives"
    place_server other
    rake "package:archives", "PLATFORMS=#{other}"

    assert_equal [ "#{"1" * 64}  #{(ARCHIVE % @platform).sub("0.1.0", "0.0.9")}\n", *[ @platform, other ].sort.map { |name| "#{sha256(name)}  #{ARCHIVE % name}\n" } ],
      File.readlines("#{@directory}/gem/pkg/SHA256SUMS")
    run_command "sha256sum", "--check", "--ignore-missing", "SHA256SUMS", directory: "#{@directory}/gem/pkg"
  end

  test "a platform that cannot be built is reported, and the others are packaged" do
    output = rake("package", expect_success: false, env: path_with("cargo" => nil))
    PLATFORMS.each { |platform| assert_match(/#{platform} \(\S+\) is not built: cargo is missing. .*it needs no Ruby/, output) }
    assert File.exist?("#{@directory}/gem/pkg/#{ARCHIVE % @platform}")

    tools = { "cargo" => "true", "cargo-zigbuild" => nil }
    assert_match "cargo-zigbuild is missing: pip install", build(tools)
    tools["cargo-zigbuild"] = '[ "$1" = --version ] || { echo "error: no framework" >&2; false; }'
    assert_match "zig is missing: pip install", build(tools.merge("zig" => "false", "python3" => "false"))
    tools.update "zig" => "true", "rustc" => "echo #{@directory}/rust"
    assert_match(/darwin-arm64 \(aarch64-apple-darwin\) is not built: this Rust has no aarch64-apple-darwin: rustup target add/, build(tools))

    FileUtils.mkdir_p "#{@directory}/rust/lib/rustlib/aarch64-apple-darwin/lib"
    output = build(tools)
    assert_match "darwin-arm64 (aarch64-apple-darwin) is not built: error: no framework", output
    assert_match "unknown platforms plan9", rake("package:build", "PLATFORMS=plan9", expect_success: false)
  end

  test "an older binary is not mistaken for one that could not be built" do
    place_server "darwin-arm64"
    FileUtils.mkdir_p "#{@directory}/rust/lib/rustlib/aarch64-apple-darwin/lib"
    build("cargo" => "true", "cargo-zigbuild" => '[ "$1" = --version ]', "zig" => "true", "rustc" => "echo #{@directory}/rust")
    assert_not File.exist?("#{@directory}/gem/dist/darwin-arm64/durable-streams-server")
  end

  private
    def rake(*arguments, **options)
      run_command("bundle", "exec", "rake", *arguments, **options)
    end

    def place_server(platform)
      FileUtils.mkdir_p "#{@directory}/gem/dist/#{platform}"
      File.write "#{@directory}/gem/dist/#{platform}/durable-streams-server", FAKE_SERVER, perm: 0o755
    end

    def sha256(platform = @platform)
      Digest::SHA256.file("#{@directory}/gem/pkg/#{ARCHIVE % platform}").hexdigest
    end

    def unpack(name)
      run_command "gem", "unpack", "pkg/#{name}.gem", "--target", @directory
      "#{@directory}/#{name}"
    end

    def contents(directory)
      Dir.glob("**/*", base: directory).sort
    end

    # Returns the output of script/build with these tools.
    def build(tools)
      run_command "script/build", "darwin-arm64", env: path_with(tools), expect_success: false
    end

    # Returns a PATH on which these tools come first; a nil tool fails.
    def path_with(tools)
      directory = Dir.mktmpdir("tools", @directory)
      tools.each { |name, script| File.write "#{directory}/#{name}", "#!/bin/sh\n#{script || "exit 127"}\n", perm: 0o755 }
      { "PATH" => "#{directory}:#{ENV["PATH"]}" }
    end

    # Downloads with the manifest of that copy of the gem.
    def fetch_with(gem_root, env, message)
      app = Dir.mktmpdir
      output = run_command "ruby", "-I", "#{gem_root}/lib", "-r", "durable_streams/rails/server_binary",
        "-e", "DurableStreams::Rails::ServerBinary.new(root: ARGV[0]).download", app, env: env
      assert_match message, output
      assert_equal "packaged \n", run_command("#{app}/bin/dist/durable-streams-server-0.1.0")
    ensure
      FileUtils.rm_rf app
    end

    def run_command(*command, env: {}, directory: "#{@directory}/gem", expect_success: true)
      output, status = Bundler.with_unbundled_env { Open3.capture2e({ "DURABLE_STREAMS_BINARY" => nil, **env }, *command, chdir: directory) }
      raise "#{command.join(" ")}: #{output}" if status.success? != expect_success
      output
    end
end
