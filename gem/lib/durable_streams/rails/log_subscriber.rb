# frozen_string_literal: true

require "active_support/log_subscriber"

module DurableStreams
  module Rails
    # Logs broadcasts at debug level and failures at error level:
    #
    #   DurableStreams insert comment/1 to gid://app/Post/1 (0.4ms)
    #
    # Events that a handler has processed are logged at info level.
    #
    # Broadcasts and failures are separate, so that apps with a higher log level do not
    # pay for the first.
    class LogSubscriber < ActiveSupport::LogSubscriber
      def broadcast(event)
        if event.payload[:exception_object].nil?
          debug { "  #{color("DurableStreams", CYAN, bold: true)} #{describe(event.payload)}#{" dropped: the stream was deleted" if event.payload[:offset].nil?} (#{event.duration.round(1)}ms)" }
        end
      end
      subscribe_log_level :broadcast, :debug

      def broadcast_failed(event)
        error do
          "  #{color("DurableStreams", RED, bold: true)} #{describe(event.payload)} failed: #{event.payload[:exception_object].message}"
        end
      end
      subscribe_log_level :broadcast_failed, :error

      def broadcast_given_up(event)
        error do
          "  #{color("DurableStreams", RED, bold: true)} #{describe(event.payload)} given up: #{event.payload[:exception_object].message}"
        end
      end
      subscribe_log_level :broadcast_given_up, :error

      def process(event)
        if event.payload[:exception_object].nil?
          info do
            handler, count, stream = event.payload.values_at(:handler, :count, :stream)
            "  #{color("DurableStreams", CYAN, bold: true)} #{handler} processed #{count} #{"event".pluralize(count)} of #{stream} (#{event.duration.round(1)}ms)"
          end
        end
      end
      subscribe_log_level :process, :info

      private
        def describe(payload)
          event = payload[:event]
          "#{event.dig("headers", "operation") || "event"} #{event["type"]}/#{event["key"]} to #{payload[:stream]}"
        end
    end
  end
end
