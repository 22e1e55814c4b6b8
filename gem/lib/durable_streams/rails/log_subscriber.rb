# frozen_string_literal: true

require "active_support/log_subscriber"

# Logs each broadcast at debug level, and each that failed as an error:
#
#   DurableStreams insert comment/1 to gid://app/Post/1 (0.4ms)
class DurableStreams::Rails::LogSubscriber < ActiveSupport::LogSubscriber
  def broadcast(event)
    what = describe(event.payload)
    if (exception = event.payload[:exception_object])
      error { "  #{color("DurableStreams", RED, bold: true)} #{what} failed after #{event.duration.round(1)}ms: #{exception.message}" }
    else
      debug { "  #{color("DurableStreams", CYAN, bold: true)} #{what} (#{event.duration.round(1)}ms)" }
    end
  end

  private
    def describe(payload)
      event = payload[:event]
      "#{event.dig("headers", "operation") || "event"} #{event["type"]}/#{event["key"]} to #{payload[:stream]}"
    end
end
