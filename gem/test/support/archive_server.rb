# frozen_string_literal: true

require "socket"

# Serves the files of a directory, with ranges, like the host of a release.
class ArchiveServer
  # The Range header of each request, or nil.
  attr_reader :ranges

  # The next response ends after this many bytes of its body.
  attr_writer :break_off_after

  # Whether ranges are supported.
  attr_writer :resumes

  def initialize(directory)
    @directory = directory
    @ranges = []
    @resumes = true
    @server = TCPServer.new("127.0.0.1", 0)
    @thread = Thread.new { accept }
  end

  def url
    "http://127.0.0.1:#{@server.addr[1]}"
  end

  def stop
    @thread.kill
    @server.close
  end

  private
    def accept
      loop do
        socket = @server.accept
        answer socket
      rescue SystemCallError
        nil # The client has disconnected.
      ensure
        socket&.close
      end
    end

    def answer(socket)
      request = +""
      request << socket.gets until request.end_with?("\r\n\r\n")
      path = File.join(@directory, request[/\AGET (\S+)/, 1])
      ranges << request[/^Range: (\S+)/i, 1]

      if File.file?(path)
        send_file socket, File.binread(path), ranges.last
      else
        socket.write "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
      end
    end

    def send_file(socket, content, range)
      from = @resumes ? range.to_s[/\d+/].to_i : 0
      part = content.byteslice(from..)
      status = from.zero? ? "200 OK" : "206 Partial Content\r\nContent-Range: bytes #{from}-#{content.bytesize - 1}/#{content.bytesize}"
      status = "416 Range Not Satisfiable" if part.to_s.empty?
      socket.write "HTTP/1.1 #{status}\r\nContent-Length: #{part.to_s.bytesize}\r\nConnection: close\r\n\r\n", part.to_s.byteslice(0, @break_off_after || part.to_s.bytesize)
      @break_off_after = nil
    end
end
