# frozen_string_literal: true

# Broadcasts numbered events by the gem, until its standard input ends. Prints a line for
# each: the outcome, the event's key, the stream, and the seconds that it took or the error.

ENV["RAILS_ENV"] = "test"
$stdout.sync = true

require "bundler/setup"
require_relative "../../../gem/test/dummy/config/environment"

url, pause, threads, *streams = ARGV
DurableStreams.server_url = url
DurableStreams.config.merge!(token_issuer: "https://app.test", token_audience: "https://streams.test/v1/streams")
Rails.logger.level = :fatal

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

over = false
writers = Array.new(Integer(threads)) do |writer|
  Thread.new do
    streams.cycle.with_index do |stream, number|
      break if over

      key, started = format("gem%d-%06d", writer, number), now
      begin
        DurableStreams.broadcast_event_to(stream, type: "write", key: key, operation: :insert)
        puts "wrote #{key} #{stream} #{now - started}"
      rescue StandardError => error
        puts "failed #{key} #{stream} #{error.class}: #{error.message.tr("\n", " ")}"
      end
      sleep [ Float(pause) - (now - started), 0 ].max
    end
  end
end

$stdin.read
over = true
writers.each(&:join)
