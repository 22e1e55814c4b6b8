# frozen_string_literal: true

# Measures the time from the start of bin/durable-streams to its first response, in a
# generated app. Run it in gem/:
#
#   DURABLE_STREAMS_BINARY=… script/run bundle exec ruby benchmark/start.rb [count]

ENV["BUNDLE_GEMFILE"] ||= File.expand_path("../Gemfile", __dir__)

require "bundler/setup"
require "active_support"
require "active_support/core_ext"
require "net/http"
require "socket"
require_relative "../test/support/generated_app"

def clock
  Process.clock_gettime(Process::CLOCK_MONOTONIC, :float_millisecond)
end

binary = ENV.fetch("DURABLE_STREAMS_BINARY")
app = GeneratedApp.create("--minimal")
begin
  app.run("bin/rails", "generate", "durable_streams:install")
  app.run("bin/rails", "durable_streams:generate_keys")
  port = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
  env = { "DURABLE_STREAMS_BINARY" => binary, "DS_SERVER__BIND_ADDRESS" => "127.0.0.1:#{port}" }

  times = Array.new(Integer(ARGV.first || 10)) do
    started = clock
    pid = app.spawn("bin/durable-streams", env: env, out: app.expand("tmp/streams.log"))
    begin
      abort "no response:\n#{app.read("tmp/streams.log")}" if clock - started > 10_000
      TCPSocket.open("127.0.0.1", port) { |socket| socket.write("GET /up HTTP/1.0\r\n\r\n"); socket.gets.to_s.start_with?("HTTP/") or raise EOFError }
    rescue SystemCallError, EOFError
      sleep 0.001
      retry
    end
    (clock - started).tap { Process.kill(:TERM, pid); Process.wait(pid) }
  end.sort

  puts format("bin/durable-streams to its first response: median %.1f ms, min %.1f ms, max %.1f ms", times[times.size / 2], times.first, times.last)
ensure
  app.delete
end
