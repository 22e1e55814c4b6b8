# frozen_string_literal: true

require "digest"
require "fileutils"
require "rubygems/package"
require "stringio"
require "zlib"

# RubyGems stamps what it packs with this time, in archives and gems alike.
ENV["SOURCE_DATE_EPOCH"] ||= "315532800"

require_relative "../lib/durable_streams/rails/server_binary"

# rake package builds the server for every platform, and of each build a
# release archive and a gem that carries it, with one manifest of checksums.
#
# Needs Rust with cargo-zigbuild and zig (pip install ziglang), or binaries that
# were built elsewhere in dist/PLATFORM/durable-streams-server.
module Packaging
  NAME    = DurableStreams::Rails::ServerBinary::NAME
  VERSION = DurableStreams::Rails::VERSION
  ROOT    = File.expand_path("..", __dir__)

  # The archive's platform, what Rust and RubyGems call it.
  Platform = Struct.new(:name, :target, :gem_platform) do
    def binary
      File.join(ROOT, "dist", name, NAME)
    end

    def archive
      File.join(ROOT, "pkg", "#{NAME}-#{VERSION}-#{name}.tar.gz")
    end

    def executable
      File.join("exe", gem_platform, NAME)
    end

    def built?
      File.executable?(binary)
    end
  end

  PLATFORMS = [
    Platform.new("linux-x86_64", "x86_64-unknown-linux-musl", "x86_64-linux"),
    Platform.new("linux-arm64", "aarch64-unknown-linux-musl", "aarch64-linux"),
    Platform.new("darwin-arm64", "aarch64-apple-darwin", "arm64-darwin"),
    Platform.new("darwin-x86_64", "x86_64-apple-darwin", "x86_64-darwin")
  ].freeze

  module_function

  # Only these, where PLATFORMS=linux-x86_64,… is given.
  def platforms
    chosen = ENV["PLATFORMS"].to_s.split(",")
    unknown = chosen - PLATFORMS.map(&:name)
    abort "package: unknown platforms #{unknown.join(", ")}; there are #{PLATFORMS.map(&:name).join(", ")}" if unknown.any?
    chosen.empty? ? PLATFORMS : PLATFORMS.select { |platform| chosen.include?(platform.name) }
  end

  # Why the platform cannot be built here, or nil.
  def obstacle(platform)
    if !system("cargo", "zigbuild", "--help", out: File::NULL, err: File::NULL)
      "cargo-zigbuild is missing: cargo install cargo-zigbuild && pip install ziglang"
    elsif !`rustup target list --installed`.split.include?(platform.target)
      "Rust does not know the target: rustup target add #{platform.target}"
    end
  end

  def build(platform)
    if (reason = obstacle(platform))
      warn "package: #{platform.name} is not built: #{reason}"
      return false
    end

    unless system("cargo", "zigbuild", "--release", "--locked", "--target", platform.target, "--bin", NAME, chdir: File.dirname(ROOT))
      warn "package: #{platform.name} is not built: cargo failed, see above"
      return false
    end

    FileUtils.mkdir_p File.dirname(platform.binary)
    FileUtils.cp File.join(File.dirname(ROOT), "target", platform.target, "release", NAME), platform.binary
    true
  end

  # The same bytes for the same binary, whenever and wherever it is packed.
  def archive(platform)
    FileUtils.mkdir_p File.dirname(platform.archive)
    File.open(platform.archive, "wb") do |file|
      gzip = Zlib::GzipWriter.new(file, Zlib::BEST_COMPRESSION)
      gzip.mtime = Time.at(1)
      tar = StringIO.new("".b)
      Gem::Package::TarWriter.new(tar) do |writer|
        content = File.binread(platform.binary)
        writer.add_file_simple(NAME, 0o755, content.bytesize) { |entry| entry.write(content) }
      end
      gzip.write(tar.string)
      gzip.close
    end
  end

  # Checksums of earlier versions stay: an app may pin one.
  def write_manifest
    manifest = DurableStreams::Rails::ServerBinary::MANIFEST
    lines = File.exist?(manifest) ? File.readlines(manifest, chomp: true) : []
    archives = platforms.select(&:built?).map(&:archive)
    lines.reject! { |line| archives.any? { |path| line.end_with?("  #{File.basename(path)}") } }
    lines.concat(archives.map { |path| "#{Digest::SHA256.file(path).hexdigest}  #{File.basename(path)}" })
    File.write(manifest, lines.sort_by { |line| line.split.last }.map { |line| "#{line}\n" }.join)
  end

  def build_gem(platform)
    specification = Gem::Specification.load(File.join(ROOT, "durable_streams-rails.gemspec")).dup
    if platform
      FileUtils.mkdir_p File.join(ROOT, File.dirname(platform.executable))
      FileUtils.cp platform.binary, File.join(ROOT, platform.executable)
      specification.platform = platform.gem_platform
      specification.files += [ platform.executable ]
    end
    Dir.chdir(ROOT) { FileUtils.mv Gem::Package.build(specification), "pkg" }
  ensure
    FileUtils.rm_rf File.join(ROOT, "exe", platform.gem_platform) if platform
  end
end

namespace :package do
  desc "Build the server for every platform (PLATFORMS=linux-x86_64,…)"
  task :build do
    failed = Packaging.platforms.reject { |platform| platform.built? || Packaging.build(platform) }
    abort "package: not built: #{failed.map(&:name).join(", ")}" if failed.any?
  end

  desc "Pack what is built in dist/ into release archives, with their checksums"
  task :archives do
    built = Packaging.platforms.select(&:built?)
    abort "package: nothing is built in dist/" if built.empty?
    built.each { |platform| Packaging.archive(platform) }
    Packaging.write_manifest
  end

  desc "Build the gem, and one for each platform that is built"
  task gems: :archives do
    Packaging.build_gem(nil)
    Packaging.platforms.select(&:built?).each { |platform| Packaging.build_gem(platform) }
  end
end

desc "Build archives and gems for every platform"
task package: %w[ package:build package:gems ]
