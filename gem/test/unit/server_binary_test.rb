# frozen_string_literal: true

require "test_helper"
require "durable_streams/rails/server_binary"

class ServerBinaryTest < ActiveSupport::TestCase
  FAKE_SERVER = "#!/bin/sh\n# #{SecureRandom.hex(20_000)}\n"

  setup do
    @root = Dir.mktmpdir
    @archive = pack
    @requests = []
    @server = TCPServer.new("127.0.0.1", 0)
    @env = { "DURABLE_STREAMS_DOWNLOAD_URL" => "http://127.0.0.1:#{@server.addr[1]}", "DURABLE_STREAMS_SHA256" => Digest::SHA256.hexdigest(@archive) }
    @binary = DurableStreams::Rails::ServerBinary.new(root: @root, version: "9.9.9", env: @env, out: StringIO.new)
  end

  teardown do
    @thread&.kill
    @server.close
    FileUtils.rm_rf @root
  end

  test "a download that broke off is resumed" do
    answer [ 200, @archive.bytesize, @archive[0, 10_000] ], [ 206, @archive.bytesize - 10_000, @archive[10_000..] ]
    error = assert_raises(DurableStreams::Rails::ServerBinary::Error) { @binary.download }
    assert_match "could not be fetched", error.message
    @binary.download

    assert_equal FAKE_SERVER, File.read(@binary.path)
    assert File.executable?(@binary.path)
    assert_equal [ nil, "bytes=10000-" ], @requests.map { |request| request[/^Range: (\S+)/i, 1] }
    assert_equal [ File.basename(@binary.path) ], Dir.children(File.dirname(@binary.path))
  end

  test "a mirror that has another file" do
    answer [ 200, 5, "other" ], [ 404, 0, "" ]
    assert_match "thrown away", assert_raises(DurableStreams::Rails::ServerBinary::Error) { @binary.download }.message
    assert_match "answered 404", assert_raises(DurableStreams::Rails::ServerBinary::Error) { @binary.download }.message
    assert_not File.exist?(@binary.path)
  end

  test "a platform without a server" do
    DurableStreams::Rails::ServerBinary.stub :ruby_platform, "s390x-linux" do
      assert_match "no server for s390x-linux", assert_raises(DurableStreams::Rails::ServerBinary::Error) { @binary.download }.message
    end
  end

  private
    def pack
      tar = StringIO.new("".b)
      Gem::Package::TarWriter.new(tar) { |writer| writer.add_file_simple("durable-streams-server", 0o755, FAKE_SERVER.bytesize) { |entry| entry.write(FAKE_SERVER) } }
      Zlib.gzip(tar.string)
    end

    def answer(*answers)
      @thread = Thread.new do
        answers.each do |status, length, body|
          socket = @server.accept
          request = +""
          request << socket.gets until request.end_with?("\r\n\r\n")
          @requests << request
          socket.write "HTTP/1.1 #{status} Stub\r\nContent-Length: #{length}\r\nConnection: close\r\n\r\n", body
          socket.close
        end
      end
    end
end
