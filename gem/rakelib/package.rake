# frozen_string_literal: true

require "digest"
require "fileutils"
require "rubygems/package"
require "stringio"
require "tmpdir"
require "zlib"

# RubyGems stamps what it packs with this time, in archives and gems alike.
ENV["SOURCE_DATE_EPOCH"] ||= "315532800"

require_relative "../lib/durable_streams/rails/server_binary"

# rake package builds the server for every platform (script/build), and packs of
# each a release archive and a gem that carries it, with one manifest of all
# archives' checksums. What it makes is in pkg/: nothing in lib/ changes.
module Packaging
  NAME    = DurableStreams::Rails::ServerBinary::NAME
  VERSION = DurableStreams::Rails::VERSION
  ROOT    = File.expand_path("..", __dir__)
  PKG     = File.join(ROOT, "pkg")

  # What is uploaded beside the archives, and carried by the gems.
  MANIFEST = File.join(PKG, "SHA256SUMS")

  # The archive's platform, and RubyGems' name for it. A Linux gem without a
  # libc in its name is for glibc and musl alike, as the static binary is.
  Platform = Struct.new(:name, :gem_platform) do
    def binary
      File.join(ROOT, "dist", name, NAME)
    end

    def archive
      File.join(PKG, "#{NAME}-#{VERSION}-#{name}.tar.gz")
    end

    def executable
      File.join("exe", gem_platform, NAME)
    end

    def built?
      File.executable?(binary)
    end
  end

  PLATFORMS = [
    Platform.new("linux-x86_64", "x86_64-linux"),
    Platform.new("linux-arm64", "aarch64-linux"),
    Platform.new("darwin-arm64", "arm64-darwin"),
    Platform.new("darwin-x86_64", "x86_64-darwin")
  ].freeze

  module_function

  # Only these, where PLATFORMS=linux-x86_64,… is given.
  def platforms
    chosen = ENV["PLATFORMS"].to_s.split(",")
    unknown = chosen - PLATFORMS.map(&:name)
    abort "package: unknown platforms #{unknown.join(", ")}; there are #{PLATFORMS.map(&:name).join(", ")}" if unknown.any?
    chosen.empty? ? PLATFORMS : PLATFORMS.select { |platform| chosen.include?(platform.name) }
  end

  # Returns whether all were built.
  def build
    system(File.join(ROOT, "script/build"), *platforms.map(&:name))
  end

  # The platforms that are in dist/, wherever they were built.
  def built
    built, missing = platforms.partition(&:built?)
    missing.each { |platform| warn "package: no archive and no gem for #{platform.name}: dist/#{platform.name}/#{NAME} is not there" }
    abort "package: nothing is built in dist/" if built.empty?
    built
  end

  # The same bytes for the same binary, whenever and wherever it is packed.
  def archive(platform)
    FileUtils.mkdir_p PKG
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

  # This version's archives as they are in pkg/, and those of the versions that
  # were released before: an app may pin one.
  def write_manifest
    released = DurableStreams::Rails::ServerBinary::MANIFEST
    earlier = File.exist?(released) ? File.readlines(released, chomp: true) : []
    earlier.reject! { |line| line.include?("  #{NAME}-#{VERSION}-") }
    current = PLATFORMS.map(&:archive).select { |path| File.exist?(path) }
      .map { |path| "#{Digest::SHA256.file(path).hexdigest}  #{File.basename(path)}" }
    File.write MANIFEST, (earlier + current).sort_by { |line| line.split.last }.map { |line| "#{line}\n" }.join
  end

  # The gem for every platform, or with +platform+ the one that carries its binary.
  def build_gem(platform = nil)
    specification = Gem::Specification.load(File.join(ROOT, "durable_streams-rails.gemspec")).dup
    contents = specification.files.to_h { |path| [ path, File.join(ROOT, path) ] }
    contents["lib/durable_streams/rails/SHA256SUMS"] = MANIFEST
    if platform
      specification.platform = platform.gem_platform
      contents[platform.executable] = platform.binary
    end
    specification.files = contents.keys

    Dir.mktmpdir do |directory|
      contents.each { |path, source| stage source, File.join(directory, path) }
      Dir.chdir(directory) { FileUtils.mv Gem::Package.build(specification), PKG }
    end
  end

  # Readable for everyone, whoever builds the gem.
  def stage(source, path)
    FileUtils.mkdir_p File.dirname(path)
    FileUtils.cp source, path
    File.chmod File.executable?(source) ? 0o755 : 0o644, path
  end
end

namespace :package do
  desc "Build the server for every platform into dist/ (PLATFORMS=linux-x86_64,…)"
  task :build do
    abort "package: not all is built, see above" unless Packaging.build
  end

  desc "Pack what is built in dist/ into release archives, with their checksums"
  task :archives do
    Packaging.built.each { |platform| Packaging.archive(platform) }
    Packaging.write_manifest
  end

  desc "Build the gem, and one for each platform that is built in dist/"
  task gems: :archives do
    Packaging.build_gem
    Packaging.platforms.select(&:built?).each { |platform| Packaging.build_gem(platform) }
  end
end

desc "Build archives and gems for every platform (PLATFORMS=linux-x86_64,…)"
task :package do
  complete = Packaging.build
  Rake::Task["package:gems"].invoke
  abort "package: not all is built, see above" unless complete
end
