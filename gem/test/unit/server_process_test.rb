# frozen_string_literal: true

require "test_helper"
require "durable_streams/rails/server_process"

class ServerProcessTest < ActiveSupport::TestCase
  setup do
    @directory = Dir.mktmpdir
    @log = []
    @owners = []
  end

  teardown do
    @server&.stop
    @owners.dup.each { |owner| end_owner owner }
    FileUtils.rm_rf @directory
  end

  test "a server that dies is restarted, and stop ends it" do
    start "echo $$ >> #{@directory}/starts; exec sleep 60"
    first = wait_for_starts(1).last
    Process.kill :KILL, first
    second = wait_for_starts(2).last
    assert_not_equal first, second
    assert_match "restarting in", @log.join

    @server.stop
    assert_raises(Errno::ESRCH) { Process.kill(0, second) }
    assert_equal 2, starts.size
  end

  test "a server with an invalid configuration is not restarted" do
    start "echo $$ >> #{@directory}/starts; exit 78"
    @server.wait
    assert_equal 1, starts.size
    assert_match "configuration", @log.join
  end

  test "a server that does not stop is killed" do
    start "trap '' TERM; echo $$ >> #{@directory}/starts; while :; do sleep 0.1; done", stop_timeout: 0.3
    pid = wait_for_starts(1).last
    @server.stop
    assert_raises(Errno::ESRCH) { Process.kill(0, pid) }
  end

  test "a missing command is reported" do
    @server = DurableStreams::Rails::ServerProcess.new(command: "#{@directory}/nowhere", log: @log.method(:<<))
    @server.start
    @server.wait
    assert_match "#{@directory}/nowhere does not exist or is not executable", @log.sole
  end

  test "the server ends with its owner, however that ends" do
    %i[ TERM KILL ].each do |signal|
      write_server SERVER
      owner = fork_owner
      server = wait_for_starts(1).last
      # A child of the owner survives with its inherited descriptors.
      end_owner owner, signal
      wait_until { !alive?(server) }
      File.delete "#{@directory}/starts"
    end
  end

  test "a server that does not end with its owner is killed" do
    write_server "trap '' TERM; #{SERVER.sub("exec sleep 60", "while :; do sleep 0.1; done")}"
    owner = fork_owner(stop_timeout: 1)
    server = wait_for_starts(1).last
    end_owner owner
    wait_until { !alive?(server) }
  end

  test "an orphan is ended, and the server of another process is left running" do
    write_server SERVER
    owner = fork_owner
    first = wait_for_starts(1).last
    wait_until { File.exist?("#{@directory}/pid") }
    start_here
    wait_until { @log.any? }
    assert_match "Another Puma runs Durable Streams (pid #{first})", @log.sole

    watchdogs.each { |watchdog| Process.kill :KILL, watchdog }
    end_owner owner
    second = wait_for_starts(2).last
    assert_not alive?(first)
    assert_match "Ending the Durable Streams server of an earlier Puma (pid #{first})", @log.last
    @server.stop
    assert_not alive?(second)
    assert_not File.exist?("#{@directory}/pid")
  end

  test "of two owners that start together, one waits for the other" do
    write_server "mkdir taken 2>/dev/null || exit 1; #{SERVER}"
    fork_owner
    first = wait_for_starts(1).last
    wait_until { File.exist?("#{@directory}/pid") }
    other = server_process
    other.define_singleton_method(:take_over) { singleton_class.remove_method(:take_over) } # Looks once before the other has started.
    (@server = other).start
    wait_until { @log.size >= 2 }

    assert_match "restarting in", @log.first
    assert_match "Another Puma runs Durable Streams (pid #{first})", @log.second
    assert_equal first, File.read("#{@directory}/pid").to_i
  end

  test "a reused or invalid pid is ignored" do
    [ "#{Process.pid} 1\n1 1\n", "", "1 \n1 \n", "-1 5\n-1 5\n", "\xFF\n\xFF\n", "\0\n\0\n" ].each_with_index do |content, at|
      write_server SERVER
      File.write "#{@directory}/pid", content
      start_here
      wait_for_starts(at + 1)
      assert_empty @log
      @server.stop
      @log.clear
    end
  end

  private
    SERVER = "echo $$ >> starts; exec sleep 60"

    def write_server(script)
      File.write "#{@directory}/server", "#!/bin/sh\ncd #{@directory}\n#{script}\n", perm: 0o755
    end

    def server_process(pid_file: "#{@directory}/pid", **options)
      DurableStreams::Rails::ServerProcess.new(command: "#{@directory}/server", log: @log.method(:<<), pid_file: pid_file, restart_delays: 0.05..0.1, **options)
    end

    def start_here
      @server = server_process.tap(&:start)
    end

    # Forks a process that starts the server and a child.
    def fork_owner(**options)
      @owners << fork do
        Process.setproctitle "owner"
        server_process(**options).start
        sleep 0.05 until File.exist?("#{@directory}/pid")
        fork { sleep 20; exit! }
        sleep
      ensure
        exit!
      end
      @owners.last
    end

    def end_owner(owner, signal = :KILL)
      if @owners.delete(owner)
        Process.kill signal, owner
        Process.wait owner
      end
    end

    # Reparented shells, found by the server's process group.
    def watchdogs
      server = File.read("#{@directory}/pid").to_i
      Dir["/proc/[0-9]*"].map { |path| File.basename(path).to_i }.select do |pid|
        pid != server && Process.getpgid(pid) == Process.getpgid(server)
      rescue Errno::ESRCH
        false
      end
    end

    def alive?(pid)
      !DurableStreams::Rails::PidFile::Entry.started_at(pid).nil?
    end

    def wait_until(seconds = 10)
      (seconds * 20).times { yield ? return : sleep(0.05) }
      flunk "timed out after #{seconds} s: #{@log.join(" ")}"
    end

    def start(script, **options)
      write_server script
      @server = server_process(pid_file: nil, **options).tap(&:start)
    end

    def starts
      File.exist?("#{@directory}/starts") ? File.readlines("#{@directory}/starts").map(&:to_i) : []
    end

    def wait_for_starts(count)
      100.times { starts.size >= count ? break : sleep(0.05) }
      assert_equal count, starts.size
      starts
    end
end
