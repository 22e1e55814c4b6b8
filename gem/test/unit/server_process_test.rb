# frozen_string_literal: true

require "test_helper"
require "durable_streams/rails/server_process"

class ServerProcessTest < ActiveSupport::TestCase
  include ActiveSupport::Testing::ConstantStubbing

  setup do
    @directory = Dir.mktmpdir
    @log = []
  end

  teardown do
    @server&.stop
    FileUtils.rm_rf @directory
  end

  test "starts a server that dies again, and stops it" do
    start "echo $$ >> #{@directory}/starts; exec sleep 60"
    first = wait_for_starts(1).last
    Process.kill :KILL, first
    second = wait_for_starts(2).last
    assert_not_equal first, second
    assert_match "went away", @log.join

    @server.stop
    assert_raises(Errno::ESRCH) { Process.kill(0, second) }
    assert_equal 2, starts.size
  end

  test "gives up on a configuration that is wrong" do
    start "echo $$ >> #{@directory}/starts; exit 78"
    wait_for_starts(1)
    sleep 0.8
    assert_equal 1, starts.size
    assert_match "configuration", @log.join
  end

  test "kills a server that does not stop" do
    stub_const(DurableStreams::Rails::ServerProcess, :PATIENCE, 0.3) do
      start "trap '' TERM; echo $$ >> #{@directory}/starts; while :; do sleep 0.1; done"
      pid = wait_for_starts(1).last
      @server.stop
      assert_raises(Errno::ESRCH) { Process.kill(0, pid) }
    end
  end

  test "a command that is not there" do
    @server = DurableStreams::Rails::ServerProcess.new(command: "#{@directory}/nowhere", log: @log.method(:<<))
    @server.start
    sleep 0.1
    @server.stop
    assert_match "No such file", @log.join
  end

  private
    def start(script)
      command = "#{@directory}/server"
      File.write command, "#!/bin/sh\n#{script}\n"
      File.chmod 0o755, command
      @server = DurableStreams::Rails::ServerProcess.new(command: command, log: @log.method(:<<))
      @server.start
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
