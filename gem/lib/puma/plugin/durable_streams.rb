# frozen_string_literal: true

require "puma/plugin"
require "durable_streams/rails/server_process"

# Runs the Durable Streams server beside Puma:
#
#   # config/puma.rb
#   plugin :durable_streams if ENV["RAILS_ENV"] != "production"
#
# The server starts when Puma has booted, is started again when it dies, and
# stops with Puma.
Puma::Plugin.create do
  def start(launcher)
    server = DurableStreams::Rails::ServerProcess.new(command: command(launcher), log: launcher.log_writer.method(:log))

    if launcher.events.respond_to?(:after_booted)
      launcher.events.after_booted { server.start }
      launcher.events.after_stopped { server.stop }
      launcher.events.before_restart { server.stop }
    else
      launcher.events.on_booted { server.start }
      launcher.events.on_stopped { server.stop }
      launcher.events.on_restart { server.stop }
    end
  end

  private
    def command(launcher)
      File.expand_path("bin/durable-streams", launcher.options[:directory] || Dir.pwd)
    end
end
