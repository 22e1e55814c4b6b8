# frozen_string_literal: true

require "net/http"
require "socket"
require "sqlite3"
require "tmpdir"

# The dummy app in processes of its own, with a database of its own, and a server.
class DummyApp
  ROOT = File.expand_path("../dummy", __dir__)

  attr_reader :port, :directory, :env

  def initialize(server, signing_key:, env: {})
    @directory = Dir.mktmpdir("durable-streams-dummy")
    @port = TCPServer.open("127.0.0.1", 0) { |socket| socket.addr[1] }
    @env = {
      "RAILS_ENV" => "development", "DUMMY_STORAGE" => @directory, "DUMMY_SIGNING_KEY" => signing_key.to_pem,
      "DUMMY_CLIENT_URL" => server.public_url, "DUMMY_SERVER_URL" => server.internal_url,
      "DUMMY_WEBHOOK_URL" => "http://127.0.0.1:#{@port}/durable_streams/webhook"
    }.merge(env)
    @pids = []
  end

  def create_database
    run("bin/rails", "runner", %(ActiveRecord::Schema.verbose = false; load Rails.root.join("db/schema.rb"); Post.create!(title: "Post")))
  end

  def run(*command)
    output = IO.popen(@env, command, chdir: ROOT, err: [ :child, :out ], &:read)
    $?.success? ? output : raise("#{command.join(" ")} failed:\n#{output}")
  end

  # Starts a process and returns its pid.
  def spawn(*command)
    Process.spawn(@env, *command, chdir: ROOT, out: [ log_path, "a" ], err: [ :child, :out ]).tap { |pid| @pids << pid }
  end

  def spawn_puma(config = "threads 4, 4")
    path = File.join(@directory, "puma.rb")
    File.write path, config
    spawn("puma", "-C", path, "-b", "tcp://127.0.0.1:#{@port}")
  end

  def spawn_worker
    spawn("bin/rails", "durable_streams:work")
  end

  def stop(pid, signal = :TERM)
    Process.kill(:CONT, pid)
    Process.kill(signal, pid)
    Process.wait(pid)
    @pids.delete(pid)
  end

  def delete
    @pids.dup.each { |pid| stop(pid, :KILL) }
    FileUtils.rm_rf @directory
  end

  def request(verb, path)
    Net::HTTP.start("127.0.0.1", @port) { |http| http.request(verb.new(path)) }
  end

  def up?
    request(Net::HTTP::Get, "/up").code == "200"
  rescue SystemCallError, EOFError
    false
  end

  # Rows of the app's database, as arrays.
  def rows(sql)
    database = SQLite3::Database.new(File.join(@directory, "development.sqlite3"))
    database.busy_timeout = 5_000
    database.execute(sql)
  ensure
    database&.close
  end

  def log
    File.exist?(log_path) ? File.read(log_path) : ""
  end

  private
    def log_path
      File.join(@directory, "log")
    end
end
