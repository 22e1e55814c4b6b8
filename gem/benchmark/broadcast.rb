# frozen_string_literal: true

# Measures the cost of a synchronous broadcast with a local server. Run it in gem/:
#
#   DURABLE_STREAMS_BINARY=… STORAGE=memory script/run bundle exec ruby benchmark/broadcast.rb [count]
#
# Alternates with the same POST by plain Net::HTTP on a persistent connection. Compare
# machines by the ratio to that. Also measures broadcasts that each open a connection and
# sign a token, as without the gem's caches.
#
# On disk, the app's CPU time is a quarter higher than in memory, and twice as high on a
# busy machine, for Net::HTTP too: CPU caches are cold after waiting for the commit.

ENV["BUNDLE_GEMFILE"] ||= File.expand_path("../Gemfile", __dir__)
ENV["RAILS_ENV"] = "test"

require "bundler/setup"
require_relative "../test/dummy/config/environment"
require_relative "../test/support/real_server"

COUNT = Integer(ARGV.first || 2_000)
EVENT = { type: "message", key: "1", value: { body: "x" * 200, author: "Ada" }, operation: :insert }.freeze

Measurement = Struct.new(:name, :work) do
  def run(at)
    wall, cpu = clock, clock(Process::CLOCK_THREAD_CPUTIME_ID)
    work.call(at)
    cpus << clock(Process::CLOCK_THREAD_CPUTIME_ID) - cpu
    walls << clock - wall
  end

  def median_cpu = median(cpus)
  def median_wall = median(walls)

  def report(plain)
    puts format("%-44s median %7.1f µs (%4.2f)   p10 %7.1f µs   p95 %7.1f µs   cpu median %7.1f µs (%4.2f)", name,
      median_wall, median_wall / plain.median_wall, part(walls, 10), part(walls, 95), median_cpu, median_cpu / plain.median_cpu)
  end

  def forget
    walls.clear
    cpus.clear
  end

  private
    def walls = @walls ||= []
    def cpus = @cpus ||= []
    def median(times) = part(times, 50)
    def part(times, percent) = times.sort[times.size * percent / 100]
    def clock(id = Process::CLOCK_MONOTONIC) = Process.clock_gettime(id, :float_microsecond)
end

server = RealServer.new(verify_key: DurableStreams.config.signing_key.public_to_pem,
  storage: ENV["STORAGE"] == "memory" ? {} : { "data_dir" => "data" }).start
begin
  DurableStreams.client_url = server.public_url
  DurableStreams.server_url = server.internal_url
  Rails.logger.level = :info

  uri = URI(server.internal_url)
  path = "#{uri.path}/plain"
  DurableStreams.broadcast_event_to("plain", **EVENT)
  body = JSON.generate(DurableStreams.read_stream("plain").to_a)
  headers = { "Content-Type" => "application/json", "Authorization" => "Bearer #{DurableStreams.token_signer.server_token}" }
  http = Net::HTTP.start(uri.host, uri.port)

  measurements = [
    plain = Measurement.new("Net::HTTP, one POST", ->(_) { http.post(path, body, headers).is_a?(Net::HTTPSuccess) or abort "refused" }),
    Measurement.new("broadcast_event_to, one stream", ->(_) { DurableStreams.broadcast_event_to("bench", **EVENT) }),
    Measurement.new("broadcast_event_to, 64 streams", ->(at) { DurableStreams.broadcast_event_to("bench/#{at % 64}", **EVENT) }),
    Measurement.new("signed_stream_url", ->(_) { DurableStreams.signed_stream_url("bench") })
  ]
  in_turns = ->(count) { count.times.each_slice(100) { |turn| measurements.each { |measurement| turn.each { |at| measurement.run(at) } } } }
  in_turns.call(200)
  measurements.each(&:forget)
  in_turns.call(COUNT)

  # Last, because it closes the connections of the others.
  alone = Measurement.new("broadcast with a new connection and token", ->(_) do
    DurableStreams.reset_connections
    DurableStreams.transport.append("bench", [ EVENT ])
  end)
  (COUNT / 4).times { |at| alone.run(at) }

  puts "#{RUBY_DESCRIPTION}, Rails #{Rails.version}, #{ENV["STORAGE"] || "acid"}; in brackets: ratio to Net::HTTP"
  [ *measurements, alone ].each { |measurement| measurement.report(plain) }
ensure
  server.delete
end
