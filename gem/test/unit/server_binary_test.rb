# frozen_string_literal: true

require "test_helper"
require "durable_streams/rails/server_binary"

class ServerBinaryTest < ActiveSupport::TestCase
  FAKE_SERVER = "#!/bin/sh\n# #{SecureRandom.hex(20_000)}\n"

  setup do
    @root = Dir.mktmpdir
    @mirror = Dir.mktmpdir
    @server = ArchiveServer.new(@mirror)
    @binary = server_binary
    @archive = pack(@binary.archive)
    write_manifest
  end

  teardown do
    @server.stop
    FileUtils.rm_rf [ @root, @mirror ]
  end

  test "an interrupted download is resumed" do
    @server.break_off_after = 10_000
    assert_match "cannot download", failure.message
    assert_equal 10_000, File.size("#{@root}/bin/dist/#{@binary.archive}.partial")
    @binary.download

    assert_equal FAKE_SERVER, File.read(@binary.path)
    assert File.executable?(@binary.path)
    assert_equal [ nil, "bytes=10000-" ], @server.ranges
    assert_equal [ File.basename(@binary.path) ], Dir.children(File.dirname(@binary.path))
  end

  test "a server without ranges sends the whole archive again" do
    @server.break_off_after = 10_000
    @server.resumes = false
    assert_match "cannot download", failure.message
    @binary.download

    assert_equal FAKE_SERVER, File.read(@binary.path)
  end

  test "a complete download is not repeated" do
    FileUtils.mkdir_p "#{@root}/bin/dist"
    FileUtils.cp @archive, "#{@root}/bin/dist/#{@binary.archive}.partial"
    @binary.download

    assert_equal FAKE_SERVER, File.read(@binary.path)
    assert_equal [ "bytes=#{File.size(@archive)}-" ], @server.ranges
  end

  test "an altered archive is refused" do
    content = File.binread(@archive)
    content.setbyte(content.bytesize / 2, content.getbyte(content.bytesize / 2) ^ 1)
    File.binwrite(@archive, content)

    assert_match(/has the checksum \h{64} instead of \h{64}; the download was deleted/, failure.message)
    assert_equal [], Dir.children("#{@root}/bin/dist")
  end

  test "the manifest takes precedence over DURABLE_STREAMS_SHA256" do
    assert_raises(DurableStreams::Rails::ServerBinary::Error) { server_binary(version: "9.9.8", "DURABLE_STREAMS_SHA256" => "0" * 64).download }
    server_binary("DURABLE_STREAMS_SHA256" => "0" * 64).download
    assert_equal FAKE_SERVER, File.read(@binary.path)
  end

  test "a missing archive is an error" do
    File.delete @archive
    assert_match "#{@server.url}/#{@binary.archive} answered 404", failure.message
    assert_not File.exist?(@binary.path)
  end

  test "a version without a checksum is refused" do
    error = assert_raises(DurableStreams::Rails::ServerBinary::Error) { server_binary(version: "8.0.0").download }
    assert_match(/unknown checksum of durable-streams-server-8.0.0-.*: this gem knows those of 9.9.9. Build it with cargo .* or set DURABLE_STREAMS_SHA256/, error.message)
    assert_equal [], @server.ranges
  end

  test "a gem without a manifest needs DURABLE_STREAMS_SHA256" do
    File.delete "#{@root}/SHA256SUMS"
    assert_match(/only released gems contain checksums. Build it with cargo .* or set DURABLE_STREAMS_SHA256/, failure.message)

    server_binary("DURABLE_STREAMS_SHA256" => Digest::SHA256.file(@archive).hexdigest).download
    assert_equal FAKE_SERVER, File.read(@binary.path)
  end

  test "a platform without a release is an error" do
    DurableStreams::Rails::ServerBinary.stub :ruby_platform, "s390x-linux" do
      assert_match "no release for s390x-linux", failure.message
    end
  end

  private
    def server_binary(version: "9.9.9", **env)
      DurableStreams::Rails::ServerBinary.new(root: @root, version: version, manifest: "#{@root}/SHA256SUMS",
        env: { "DURABLE_STREAMS_DOWNLOAD_URL" => @server.url, **env }, out: StringIO.new)
    end

    def failure
      assert_raises(DurableStreams::Rails::ServerBinary::Error) { @binary.download }
    end

    def pack(name)
      tar = StringIO.new("".b)
      Gem::Package::TarWriter.new(tar) { |writer| writer.add_file_simple("durable-streams-server", 0o755, FAKE_SERVER.bytesize) { |entry| entry.write(FAKE_SERVER) } }
      File.join(@mirror, name).tap { |path| File.binwrite(path, Zlib.gzip(tar.string)) }
    end

    def write_manifest
      File.write "#{@root}/SHA256SUMS", "#{Digest::SHA256.file(@archive).hexdigest}  #{File.basename(@archive)}\n"
    end
end
