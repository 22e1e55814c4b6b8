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
    # Locates and downloads the server's binary for this machine. Used by the tasks,
    # the generator and the gem's executable, so it must load without Rails.
    class ServerBinary
      class Error < StandardError; end

      NAME = "durable-streams-server"

      REPOSITORY = "https://github.com/durable-streams-rails/durable-streams-server"

      # Each release has one archive for each platform.
      RELEASES = "#{REPOSITORY}/releases/download"

      # The checksums of all released archives. rake package adds those of the current
      # version to the gems.
      MANIFEST = File.expand_path("SHA256SUMS", __dir__)

      # Platform gems contain the binary, in a directory named for the platform.
      PACKAGED = File.expand_path("../../../exe", __dir__)

      # RubyGems' names for platforms, and those in the names of archives.
      PLATFORMS = {
        "x86_64-linux" => "linux-x86_64",
        "aarch64-linux" => "linux-arm64",
        "arm64-linux" => "linux-arm64",
        "arm64-darwin" => "darwin-arm64",
        "x86_64-darwin" => "darwin-x86_64"
      }.freeze

      attr_reader :version

      class << self
        def checksums(version, manifest: MANIFEST)
          lines = File.exist?(manifest) ? File.readlines(manifest, chomp: true) : []
          lines.map { |line| line.split(/\s+/, 2).reverse }.to_h.select { |archive, _| archive&.start_with?("#{NAME}-#{version}-") }
        end

        def ruby_platform
          [ Gem::Platform.local.cpu, Gem::Platform.local.os ].join("-")
        end

        def advice
          "Build it with cargo build --release in a checkout of #{REPOSITORY}, and set DURABLE_STREAMS_BINARY to its target/release/#{NAME}"
        end

        # The version that the app's bin/durable-streams runs, or nil.
        def pinned_version(root)
          binstub = File.join(root, "bin/durable-streams")
          File.read(binstub)[/^version="\$\{DURABLE_STREAMS_VERSION:-([^}]+)\}"/, 1] if File.exist?(binstub)
        end

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

      def path
        File.join(@root, "bin/dist", "#{NAME}-#{version}")
      end

      # Installs the binary in bin/dist and returns its path. Takes it from this gem, or
      # else from the release, whose checksum is verified. Resumes partial downloads.
      def download
        if File.executable?(path)
          @out.puts "#{path} already exists"
        elsif version == VERSION && self.class.packaged
          install(self.class.packaged)
          @out.puts "copied #{path} from the gem"
        else
          download_archive
        end
        path
      end

      def archive
        "#{NAME}-#{version}-#{platform}.tar.gz"
      end

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
            raise Error, "there is no release for #{name}. #{self.class.advice}"
          end
        end

        def checksum
          self.class.checksums(version, manifest: @manifest)[archive] || setting("DURABLE_STREAMS_SHA256") ||
            raise(Error, "unknown checksum of #{archive}: #{known_versions}. #{self.class.advice}, or set DURABLE_STREAMS_SHA256 to the checksum in the release's SHA256SUMS")
        end

        def known_versions
          if File.exist?(@manifest)
            "this gem knows those of #{File.read(@manifest).scan(/ #{NAME}-(\d[^-]*)-/).flatten.uniq.join(", ")}"
          else
            "only released gems contain checksums"
          end
        end

        def download_archive
          expected = checksum
          partial = File.join(@root, "bin/dist", "#{archive}.partial")
          FileUtils.mkdir_p File.dirname(partial)
          @out.puts "downloading #{url}"
          copy_to(partial)
          verify(partial, expected)
          unpack(partial)
          File.delete(partial)
          @out.puts "#{path} is ready"
        end

        # Downloads over HTTP, or copies from a directory: a file URL or a path, which may
        # be relative to the app's root.
        def copy_to(partial)
          case url
          when %r{\Ahttps?://}i then fetch_over_http(URI.parse(url), partial)
          when %r{\Afile://}i then FileUtils.cp(URI::DEFAULT_PARSER.unescape(URI.parse(url).path), partial)
          when %r{\A[a-z][a-z0-9+.-]*://}i then raise Error, "#{url} is neither an http, https or file URL nor a directory"
          else FileUtils.cp(File.expand_path(url, @root), partial)
          end
        rescue Errno::ENOENT, SystemCallError, SocketError, IOError, Timeout::Error, OpenSSL::SSL::SSLError, URI::InvalidURIError => error
          raise Error, "cannot download #{url}: #{error.message}. The next attempt resumes the download. " \
            "DURABLE_STREAMS_DOWNLOAD_URL sets a mirror or a directory, DURABLE_STREAMS_BINARY your own binary"
        end

        def fetch_over_http(uri, partial, redirects: 5)
          request = Net::HTTP::Get.new(uri)
          size = File.exist?(partial) ? File.size(partial) : 0
          request["Range"] = "bytes=#{size}-" if size > 0

          Net::HTTP.start(uri.host, uri.port, use_ssl: uri.scheme == "https", open_timeout: 10, read_timeout: 60, max_retries: 0) do |http|
            http.ignore_eof = false # Raises if the body is incomplete.
            http.request(request) do |response|
              case response
              when Net::HTTPPartialContent then write(response, partial, "ab")
              when Net::HTTPSuccess then write(response, partial, "wb")
              when Net::HTTPRangeNotSatisfiable then nil # The file is complete; the checksum decides.
              when Net::HTTPRedirection
                raise Error, "#{url} redirects too often" if redirects.zero?
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
            raise Error, "#{url} has the checksum #{actual} instead of #{expected}; the download was deleted"
          end
        end

        def unpack(partial)
          Zlib::GzipReader.open(partial) do |gzip|
            Gem::Package::TarReader.new(gzip).each do |entry|
              return install(entry) if entry.file? && File.basename(entry.full_name) == NAME
            end
          end
          raise Error, "#{archive} does not contain #{NAME}"
        end

        # Renames the file into place, so that no partial binary is ever run.
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
