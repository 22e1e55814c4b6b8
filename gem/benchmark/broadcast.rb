# frozen_string_literal: true

# What a synchronous broadcast costs the app, against a local server on a warm
# connection; run it in gem/:
#
#   DURABLE_STREAMS_BINARY=… script/run bundle exec ruby benchmark/broadcast.rb [count]
#
# Beside it, in the same run, what it would cost without what the gem keeps: a
# connection and a token for each request.

ENV["BUNDLE_GEMFILE"] ||= File.expand_path("../Gemfile", __dir__)
ENV["RAILS_ENV"] = "test"

require "bundler/setup"
require_relative "../test/dummy/config/environment"
require_relative "../test/support/real_server"

COUNT = Integer(ARGV.first || 3_000)
EVENT = { type: "message", key: "1", value: { body: "x" * 200, author: "Ada" }, operation: :insert }.freeze

def clock(id = Process::CLOCK_MONOTONIC)
  Process.clock_gettime(id, :float_microsecond)
end

def measure(name)
  200.times { |at| yield at }
  times = Array.new(COUNT) { |at| (start = clock; yield at; clock - start) }.sort
  cpu = clock(Process::CLOCK_PROCESS_CPUTIME_ID).then { |start| COUNT.times { |at| yield at }; (clock(Process::CLOCK_PROCESS_CPUTIME_ID) - start) / COUNT }
  puts format("%-44s median %7.1f µs   mean %7.1f µs   p99 %7.1f µs   cpu %7.1f µs", name,
    times[COUNT / 2], times.sum / COUNT, times[COUNT * 99 / 100], cpu)
end

server = RealServer.new(verify_key: DurableStreams.config.signing_key.public_to_pem,
  storage: ENV["STORAGE"] == "memory" ? {} : { "data_dir" => "data" }).start
begin
  DurableStreams.client_url = server.public_url
  DurableStreams.server_url = server.internal_url
  Rails.logger.level = :info

  measure("broadcast_event_to, one stream") { DurableStreams.broadcast_event_to("bench", **EVENT) }
  measure("broadcast_event_to, 64 streams") { |at| DurableStreams.broadcast_event_to("bench/#{at % 64}", **EVENT) }
  measure("signed_stream_url") { DurableStreams.signed_stream_url("bench") }
  measure("a connection and a token for each") do
    DurableStreams.reset_connections
    DurableStreams.transport.append("bench", [ EVENT ])
  end
ensure
  server.delete
end
