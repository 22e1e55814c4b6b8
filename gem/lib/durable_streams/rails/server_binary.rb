# frozen_string_literal: true

require "digest"
require "fileutils"
require "net/http"
require "rubygems/package"
require "tempfile"
require "uri"
require "zlib"
require_relative "version"

module DurableStreams
  module Rails
    # The server's binary: which one this machine needs, where it is, and how to
    # get it. Used by the tasks, the generator and the gem's executable.
    class ServerBinary
      # What could not be fetched, and why.
      class Error < StandardError; end

      NAME = "durable-streams-server"

      # Where its source is.
      REPOSITORY = "https://github.com/durable-streams-rails/durable-streams-server"

      # Where releases are; each holds one archive for each platform.
      RELEASES = "#{REPOSITORY}/releases/download"

      # The checksums of all released archives. rake package puts them into the
      # gems; in the repository they are of the versions released so far.
      MANIFEST = File.expand_path("SHA256SUMS", __dir__)

      # Platform gems carry the binary here, in a directory for the platform.
      PACKAGED = File.expand_path("../../../exe", __dir__)

      # This machine's name in the archives, by RubyGems' name for its CPU and system.
      PLATFORMS = {
        "x86_64-linux" => "linux-x86_64",
        "aarch64-linux" => "linux-arm64",
        "arm64-linux" => "linux-arm64",
        "arm64-darwin" => "darwin-arm64",
        "x86_64-darwin" => "darwin-x86_64"
      }.freeze

      attr_reader :version

      class << self
        # The archives of a version, with their checksums.
        def checksums(version, manifest: MANIFEST)
          lines = File.exist?(manifest) ? File.readlines(manifest, chomp: true) : []
          lines.map { |line| line.split(/\s+/, 2).reverse }.to_h.select { |archive, _| archive&.start_with?("#{NAME}-#{version}-") }
        end

        # This machine's platform, as RubyGems names it.
        def ruby_platform
          [ Gem::Platform.local.cpu, Gem::Platform.local.os ].join("-")
        end

        # How to get a server where none is released.
        def advice
          "Build it from its source, cargo build --release in a checkout of #{REPOSITORY}, and set DURABLE_STREAMS_BINARY to target/release/#{NAME} there"
        end

        # The version that the app's bin/durable-streams runs, or nil.
        def pinned_version(root)
          binstub = File.join(root, "bin/durable-streams")
          File.read(binstub)[/^version="\$\{DURABLE_STREAMS_VERSION:-([^}]+)\}"/, 1] if File.exist?(binstub)
        end

        # The binary that this gem carries for this machine, or nil.
        def packaged
          path = File.join(PACKAGED, ruby_platform, NAME)
          path if File.executable?(path)
        end
      end

      def initialize(root:, version: nil, env: ENV, manifest: MANIFEST, out: $stderr)
        @root = root.to_s
        @env = env
        @version = version || setting("DURABLE_STREAMS_VERSION") || self.class.pinned_version(@root) || VERSION
        @manifest = manifest
        @out = out
      end

      # Where the app keeps it.
      def path
        File.join(@root, "bin/dist", "#{NAME}-#{version}")
      end

      # Puts the binary into bin/dist and returns its path: from this gem, where
      # it carries the binary, otherwise from the release. What is fetched is
      # checked against the gem's manifest; what was fetched in part is resumed.
      def download
        if File.executable?(path)
          @out.puts "#{path} is there"
        elsif version == VERSION && self.class.packaged
          install(self.class.packaged)
          @out.puts "#{path} taken from the gem"
        else
          fetch
        end
        path
      end

      # The archive for this machine.
      def archive
        "#{NAME}-#{version}-#{platform}.tar.gz"
      end

      # Where the archive is.
      def url
        base = setting("DURABLE_STREAMS_DOWNLOAD_URL") || "#{RELEASES}/v#{version}"
        "#{base.chomp("/")}/#{archive}"
      end

      private
        def setting(name)
          value = @env[name].to_s
          value unless value.empty?
        end

        def platform
          PLATFORMS.fetch(self.class.ruby_platform) do |name|
            raise Error, "there is no server for #{name}. #{self.class.advice}"
          end
        end

        def checksum
          self.class.checksums(version, manifest: @manifest)[archive] || setting("DURABLE_STREAMS_SHA256") ||
            raise(Error, "no checksum is known for #{archive}: #{known}. #{self.class.advice}; or set DURABLE_STREAMS_SHA256 to the sum in the release's SHA256SUMS")
        end

        def known
          if File.exist?(@manifest)
            "this gem knows #{File.read(@manifest).scan(/ #{NAME}-(\d[^-]*)-/).flatten.uniq.join(", ")}"
          else
            "this copy of the gem carries no checksums, as released gems do"
          end
        end

        def fetch
          expected = checksum
          partial = File.join(@root, "bin/dist", "#{archive}.partial")
          FileUtils.mkdir_p File.dirname(partial)
          @out.puts "fetching #{url}"
          copy_to(partial)
          verify(partial, expected)
          unpack(partial)
          File.delete(partial)
          @out.puts "#{path} is ready"
        end

        # Over HTTP, or from a directory, which may be a file: URL or a path from the app's root.
        def copy_to(partial)
          case url
          when %r{\Ahttps?://}i then fetch_over_http(URI.parse(url), partial)
          when %r{\Afile://}i then FileUtils.cp(URI::DEFAULT_PARSER.unescape(URI.parse(url).path), partial)
          when %r{\A[a-z][a-z0-9+.-]*://}i then raise Error, "#{url} is neither an http, https or file URL nor a directory"
          else FileUtils.cp(File.expand_path(url, @root), partial)
          end
        rescue Errno::ENOENT, SystemCallError, SocketError, IOError, Timeout::Error, OpenSSL::SSL::SSLError, URI::InvalidURIError => error
          raise Error, "#{url} could not be fetched: #{error.message}. What arrived is kept and resumed next time; " \
            "DURABLE_STREAMS_DOWNLOAD_URL names a mirror or a directory, DURABLE_STREAMS_BINARY a binary of your own"
        end

        def fetch_over_http(uri, partial, redirects: 5)
          request = Net::HTTP::Get.new(uri)
          have = File.exist?(partial) ? File.size(partial) : 0
          request["Range"] = "bytes=#{have}-" if have > 0

          Net::HTTP.start(uri.host, uri.port, use_ssl: uri.scheme == "https", open_timeout: 10, read_timeout: 60, max_retries: 0) do |http|
            http.ignore_eof = false # What breaks off is an error, not the whole.
            http.request(request) do |response|
              case response
              when Net::HTTPPartialContent then write(response, partial, "ab")
              when Net::HTTPSuccess then write(response, partial, "wb")
              when Net::HTTPRangeNotSatisfiable then nil # All of it is here: the checksum tells.
              when Net::HTTPRedirection
                raise Error, "#{url} redirects without end" if redirects.zero?
                return fetch_over_http(URI.join(uri, response["Location"]), partial, redirects: redirects - 1)
              else
                raise Error, "#{uri} answered #{response.code} #{response.message}"
              end
            end
          end
        end

        def write(response, partial, mode)
          File.open(partial, mode) { |file| response.read_body { |chunk| file.write(chunk) } }
        end

        def verify(partial, expected)
          actual = Digest::SHA256.file(partial).hexdigest
          if actual != expected
            File.delete(partial)
            raise Error, "#{url} has the checksum #{actual}, and should have #{expected}. It was thrown away"
          end
        end

        def unpack(partial)
          Zlib::GzipReader.open(partial) do |gzip|
            Gem::Package::TarReader.new(gzip).each do |entry|
              return install(entry) if entry.file? && File.basename(entry.full_name) == NAME
            end
          end
          raise Error, "#{archive} holds no #{NAME}"
        end

        # Into place in one step, so that no half-written binary is ever run.
        def install(source)
          FileUtils.mkdir_p File.dirname(path)
          Tempfile.create("unpack", File.dirname(path), binmode: true) do |file|
            source.is_a?(String) ? IO.copy_stream(source, file) : file.write(source.read)
            file.chmod(0o755)
            file.close
            File.rename(file.path, path)
          end
        end
    end
  end
end
