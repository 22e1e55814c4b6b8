# frozen_string_literal: true

require "socket"
require "json"

# A server on a real socket that fails in chosen ways. It knows streams, producers, and
# a script of faults for the next requests.
class StubServer
  Request = Struct.new(:verb, :path, :headers, :body)

  attr_reader :port, :requests, :connections, :streams

  def initialize
    @server = TCPServer.new("127.0.0.1", 0)
    @port = @server.addr[1]
    @requests, @faults, @streams, @answers, @connections, @sockets = [], [], {}, {}, 0, []
    @mutex = Mutex.new
    @thread = Thread.new { accept }
  end

  def url
    "http://127.0.0.1:#{port}/v1/streams"
  end

  # Sets the faults of the next requests, in order. :drop closes the connection without
  # handling the request, :lose_answer after handling it, and :break_off in the middle of
  # the response. An array is a response (status, headers and body), and nil no fault.
  def script(*faults)
    @mutex.synchronize { @faults.concat(faults) }
  end

  # Answers requests for the path with the block's response.
  def answer(path, &block)
    @mutex.synchronize { @answers[path] = block }
  end

  def script_clear
    @mutex.synchronize { @faults.clear }
  end

  def events(path)
    @mutex.synchronize { @streams.dig("/v1/streams/#{path}", :events).to_a.dup }
  end

  def lose_streams
    @mutex.synchronize { @streams.clear }
  end

  # Closes all connections, as a restart does.
  def close_connections
    @mutex.synchronize { @sockets.each(&:shutdown).clear }
  end

  def stop
    @server.close
    @thread.kill
  end

  # Listens on the same port again.
  def restart
    @server = TCPServer.new("127.0.0.1", @port)
    @thread = Thread.new { accept }
  end

  private
    def accept
      loop do
        socket = @server.accept
        @connections += 1
        @mutex.synchronize { @sockets << socket }
        Thread.new { serve(socket) }
      end
    rescue IOError
      nil
    end

    def serve(socket)
      while (request = read(socket))
        fault, answer = @mutex.synchronize do
          @requests << request
          fault = @faults.shift
          [ fault, fault.is_a?(Array) || fault == :drop ? fault : @answers[request.path.split("?").first] || handle(request) ]
        end
        answer = answer.call(request) if answer.is_a?(Proc) # It may wait.
        break if fault == :drop || fault == :lose_answer
        write(socket, request, *answer, break_off: fault == :break_off)
        break if fault == :break_off
      end
    rescue SystemCallError, IOError
      nil
    ensure
      socket.close
    end

    def read(socket)
      line = socket.gets or return
      verb, path = line.split
      headers = {}
      while (line = socket.gets.chomp) != ""
        name, value = line.split(": ", 2)
        headers[name.downcase] = value
      end
      Request.new(verb, path, headers, socket.read(headers["content-length"].to_i))
    end

    def write(socket, request, status, headers = {}, body = "", break_off: false)
      head = +"HTTP/1.1 #{status} Stub\r\nContent-Length: #{body.bytesize}\r\n"
      headers.each { |name, value| head << "#{name}: #{value}\r\n" }
      socket.write(head, "\r\n", request.verb == "HEAD" ? "" : body[..(break_off ? -2 : -1)])
    end

    def handle(request)
      path = request.path.split("?").first
      stream = @streams[path]
      case request.verb
      when "PUT"
        @streams[path] ||= { events: [], producers: {}, closed: false }
        [ stream ? 200 : 201, offset(@streams[path]) ]
      when "POST" then stream ? append(stream, request) : problem(404, "no such stream")
      when "DELETE" then @streams.delete(path) ? [ 204 ] : problem(404, "no such stream")
      when "HEAD" then stream ? [ 200, offset(stream).merge("Content-Type" => "application/json") ] : [ 404 ]
      when "GET" then stream ? page(stream, request) : problem(404, "no such stream")
      end
    end

    def append(stream, request)
      if request.headers["stream-closed"]
        stream[:closed] = true
        return [ 204, offset(stream) ]
      end
      return [ 409, { "Stream-Closed" => "true" } ] if stream[:closed]

      id, seq = request.headers["producer-id"], request.headers["producer-seq"].to_i
      last = stream[:producers].fetch(id, -1)
      return [ 204, offset(stream) ] if seq <= last
      return [ 409, { "Producer-Expected-Seq" => last + 1, "Producer-Received-Seq" => seq } ] if seq > last + 1

      stream[:producers][id] = seq
      stream[:events].concat(JSON.parse(request.body))
      [ 200, offset(stream) ]
    end

    # Returns two events for each page.
    def page(stream, request)
      from = [ request.path[/offset=(-?\d+)/, 1].to_i, 0 ].max
      events = stream[:events].drop(from).first(2)
      tail = from + events.size
      headers = { "Stream-Next-Offset" => format("%08d", tail), "Content-Type" => "application/json" }
      headers["Stream-Up-To-Date"] = "true" if tail == stream[:events].size
      headers["Stream-Closed"] = "true" if stream[:closed] && headers["Stream-Up-To-Date"]
      [ 200, headers, events.to_json ]
    end

    def offset(stream)
      { "Stream-Next-Offset" => format("%08d", stream[:events].size) }
    end

    def problem(status, detail)
      [ status, { "Content-Type" => "application/problem+json" }, { title: "Stub", detail: detail }.to_json ]
    end
end
