# frozen_string_literal: true

require "net/http"
require "socket"
require "tmpdir"
require "yaml"

# The server that DURABLE_STREAMS_BINARY names, in a temporary directory, with a public
# and an internal listener.
class RealServer
  ISSUER = "https://dummy.example.com"

  attr_reader :directory, :public_port, :internal_port

  def self.binary
    ENV["DURABLE_STREAMS_BINARY"].to_s.tap do |path|
      raise "DURABLE_STREAMS_BINARY is #{path.empty? ? "not set" : "#{path}, which is not an executable file"}: build a server with cargo build" unless File.file?(path) && File.executable?(path)
    end
  end

  def initialize(verify_key:, storage: { "data_dir" => "data" }, allowed_ips: [ "127.0.0.1" ], **sections)
    @directory = Dir.mktmpdir("durable-streams-server")
    @public_port, @internal_port = 2.times.map { TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] } }
    write_keys(verify_key)
    @config = {
      "bind" => "127.0.0.1", "port" => public_port,
      "internal" => { "bind" => "127.0.0.1", "port" => internal_port, "allowed_ips" => allowed_ips },
      "auth" => { "verify_key" => "keys", "issuer" => ISSUER, "audience" => public_url },
      "storage" => storage, "log" => { "level" => "warn" }
    }.merge(sections.deep_stringify_keys)
  end

  def public_url
    "http://127.0.0.1:#{public_port}/v1/streams"
  end

  def internal_url
    "http://127.0.0.1:#{internal_port}/v1/streams"
  end

  def write_keys(pems)
    FileUtils.mkdir_p File.join(directory, "keys")
    Array(pems).each_with_index { |pem, at| File.write(File.join(directory, "keys/#{at}.pem"), pem) }
  end

  def start
    File.write File.join(directory, "durable_streams.yml"), { "test" => @config }.to_yaml
    @pid = Process.spawn(self.class.binary, "--config", "durable_streams.yml", "--env", "test",
      chdir: directory, out: [ File.join(directory, "log"), "a" ], err: [ :child, :out ])
    wait_until_up
    self
  end

  def stop(signal = :TERM)
    return unless @pid

    Process.kill signal, @pid
    Process.wait @pid
    @pid = nil
  end

  def signal(name)
    Process.kill name, @pid
  end

  def delete
    stop(:KILL)
    FileUtils.rm_rf directory
  end

  def log
    File.read(File.join(directory, "log"))
  end

  private
    def wait_until_up
      400.times do
        return if ready?
        raise "the server ended:\n#{log}" if Process.wait(@pid, Process::WNOHANG)
        sleep 0.05
      end
      raise "the server did not start:\n#{log}"
    end

    def ready?
      Net::HTTP.get_response("127.0.0.1", "/readyz", public_port).code == "200"
    rescue SystemCallError
      false
    end
end
