# frozen_string_literal: true

require "puma/plugin"
require "durable_streams/rails/server_process"

# Runs the Durable Streams server beside Puma:
#
#   # config/puma.rb
#   plugin :durable_streams if ENV["RAILS_ENV"] != "production"
#
# The server starts after Puma has booted, is restarted when it dies, keeps running
# during a phased restart, and ends with Puma, even if Puma is killed.
Puma::Plugin.create do
  def start(launcher)
    root = launcher.options[:directory] || Dir.pwd
    server = DurableStreams::Rails::ServerProcess.new(
      command: File.expand_path("bin/durable-streams", root),
      pid_file: File.expand_path("tmp/pids/durable_streams_#{environment}.pid", root),
      log: launcher.log_writer.method(:log)
    )

    # Restarts need no hook: a phased one keeps the server, and a hot one closes the
    # watchdog's pipe, and the next Puma waits for the server's end.
    if launcher.events.respond_to?(:after_booted)
      launcher.events.after_booted { server.start }
      launcher.events.after_stopped { server.stop }
    else
      launcher.events.on_booted { server.start }
      launcher.events.on_stopped { server.stop }
    end
  end

  private
    def environment
      ENV["RAILS_ENV"] || ENV["RACK_ENV"] || "development"
    end
end
