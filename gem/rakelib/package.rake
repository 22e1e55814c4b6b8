# frozen_string_literal: true

require "digest"
require "fileutils"
require "rubygems/package"
require "stringio"
require "tmpdir"
require "zlib"

# RubyGems uses this time in archives and gems.
ENV["SOURCE_DATE_EPOCH"] ||= "315532800"

require_relative "../lib/durable_streams/rails/server_binary"

# Builds the server for every platform (script/build), and packages each as a release
# archive and a gem, with a manifest of all archives' checksums. Writes to pkg/ only.
module Packaging
  NAME    = DurableStreams::Rails::ServerBinary::NAME
  VERSION = DurableStreams::Rails::VERSION
  ROOT    = File.expand_path("..", __dir__)
  PKG     = File.join(ROOT, "pkg")

  # Published with the archives, and part of the gems.
  MANIFEST = File.join(PKG, "SHA256SUMS")

  # The platform's name in archives and in RubyGems. A Linux gem without a libc in its
  # name is for both glibc and musl, like the static binary.
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

  # Limited by PLATFORMS=linux-x86_64,….
  def platforms
    chosen = ENV["PLATFORMS"].to_s.split(",")
    unknown = chosen - PLATFORMS.map(&:name)
    abort "package: unknown platforms #{unknown.join(", ")}; there are #{PLATFORMS.map(&:name).join(", ")}" if unknown.any?
    chosen.empty? ? PLATFORMS : PLATFORMS.select { |platform| chosen.include?(platform.name) }
  end

  # Returns whether all platforms were built.
  def build
    system(File.join(ROOT, "script/build"), *platforms.map(&:name))
  end

  # The platforms whose binaries are in dist/, wherever they were built.
  def built
    built, missing = platforms.partition(&:built?)
    missing.each { |platform| warn "package: no archive and no gem for #{platform.name}: dist/#{platform.name}/#{NAME} does not exist" }
    abort "package: dist/ contains no binaries" if built.empty?
    built
  end

  # Reproducible: the same binary results in the same archive.
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

  # Lists this version's archives in pkg/, and those of earlier versions, which an app may
  # pin.
  def write_manifest
    released = DurableStreams::Rails::ServerBinary::MANIFEST
    earlier = File.exist?(released) ? File.readlines(released, chomp: true) : []
    earlier.reject! { |line| line.include?("  #{NAME}-#{VERSION}-") }
    current = PLATFORMS.map(&:archive).select { |path| File.exist?(path) }
      .map { |path| "#{Digest::SHA256.file(path).hexdigest}  #{File.basename(path)}" }
    File.write MANIFEST, (earlier + current).sort_by { |line| line.split.last }.map { |line| "#{line}\n" }.join
  end

  # Builds the gem without a binary, or that of a platform.
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

  # Sets modes that do not depend on the umask.
  def stage(source, path)
    FileUtils.mkdir_p File.dirname(path)
    FileUtils.cp source, path
    File.chmod File.executable?(source) ? 0o755 : 0o644, path
  end
end

namespace :package do
  desc "Build the server for every platform into dist/ (PLATFORMS=linux-x86_64,…)"
  task :build do
    abort "package: not all platforms were built, see above" unless Packaging.build
  end

  desc "Package the binaries in dist/ as release archives, with their checksums"
  task :archives do
    Packaging.built.each { |platform| Packaging.archive(platform) }
    Packaging.write_manifest
  end

  desc "Build the gem, and one for each platform with a binary in dist/"
  task gems: :archives do
    Packaging.build_gem
    Packaging.platforms.select(&:built?).each { |platform| Packaging.build_gem(platform) }
  end
end

desc "Build archives and gems for every platform (PLATFORMS=linux-x86_64,…)"
task :package do
  complete = Packaging.build
  Rake::Task["package:gems"].invoke
  abort "package: not all platforms were built, see above" unless complete
end
