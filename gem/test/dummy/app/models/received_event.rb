# frozen_string_literal: true

# What the handlers have processed, and when, in seconds of the machine's uptime.
class ReceivedEvent < ApplicationRecord
  def self.record(handler, events)
    started_at = uptime
    yield if block_given?
    batch = { handler: handler.class.name, stream: handler.stream, process: Process.pid, started_at: started_at, ended_at: uptime }
    insert_all!(events.map { |event| { **batch, key: event["key"] } })
  end

  def self.uptime
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
