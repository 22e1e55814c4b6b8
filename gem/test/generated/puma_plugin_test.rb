# frozen_string_literal: true

require "generated_helper"
require "net/http"
require "socket"

class PumaPluginTest < ActiveSupport::TestCase
  setup do
    @app = GeneratedApp.create("--minimal")
    @app.run("bin/rails", "generate", "durable_streams:install")
    @app.write "bin/durable-streams", "#!/bin/sh\ncd \"$(dirname \"$0\")/..\"\necho $$ >> tmp/starts\nexec sleep 60\n"
    @app.write "config/puma.rb", "threads 1, 1\nplugin :durable_streams\n"
    FileUtils.mkdir_p @app.expand("tmp")
    @port = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
  end

  teardown do
    Process.kill(:KILL, -@puma) && Process.wait(@puma) if @puma
    @app.delete
  end

  test "the server starts with Puma, is restarted when it dies, and stops with Puma" do
    start_puma
    first = wait_for_starts(1).last
    Process.kill :KILL, first
    second = wait_for_starts(2).last

    assert_equal "200", Net::HTTP.get_response("127.0.0.1", "/up", @port).code
    Process.kill :TERM, @puma
    # Does not wait for Puma, which sometimes deadlocks under load: its server thread
    # closes the pipe that its signal handler is writing to.
    wait_for_end_of second
  end

  test "in a cluster, the server survives a phased restart and ends with a killed master" do
    @app.write "config/puma.rb", "threads 1, 1\nworkers 2\nplugin :durable_streams\n"
    start_puma
    server = wait_for_starts(1).last
    workers = wait_for_workers { |pids| pids.size == 2 }

    Process.kill :USR1, @puma
    wait_for_workers { |pids| pids.size == 2 && (pids & workers).empty? }
    assert_equal [ server ], wait_for_starts(1)
    assert_match(/\A#{server} \d+\n#{@puma} \d+\n\z/, @app.read("tmp/pids/durable_streams_development.pid"))

    assert alive?(server)

    Process.kill :USR2, @puma
    second = wait_for_starts(2).last
    assert_not alive?(server)

    Process.kill :KILL, @puma
    Process.wait @puma
    @puma = nil
    wait_for_end_of second

    wait_for_port # The workers hold it until they notice that their master has ended.
    start_puma
    wait_for_starts(3)
  end

  private
    def alive?(pid)
      File.read("/proc/#{pid}/stat")[/\) (\S)/, 1] != "Z"
    rescue SystemCallError
      false
    end

    def start_puma
      @puma = @app.spawn("bundle", "exec", "puma", "-b", "tcp://127.0.0.1:#{@port}", "-C", "config/puma.rb", out: @app.expand("tmp/puma.log"))
    end

    def wait_for_workers
      1200.times do
        pids = File.read("/proc/#{@puma}/task/#{@puma}/children").split.map(&:to_i).select { |pid| File.read("/proc/#{pid}/cmdline").include?("cluster worker") }
        return pids if yield(pids)
        sleep 0.05
      rescue Errno::ENOENT, Errno::ESRCH
        sleep 0.05
      end
      flunk "the workers did not come:\n#{@app.read("tmp/puma.log")}"
    end

    def wait_for_port
      1200.times do
        return TCPServer.open("127.0.0.1", @port).close
      rescue Errno::EADDRINUSE
        sleep 0.05
      end
    end

    def wait_for_end_of(pid)
      1200.times { alive?(pid) ? sleep(0.05) : return }
      flunk "the server outlived Puma:\n#{@app.read("tmp/puma.log")}"
    end

    def wait_for_starts(count)
      starts = []
      1200.times do
        starts = @app.exist?("tmp/starts") ? @app.read("tmp/starts").lines.map(&:to_i) : []
        break if starts.size >= count
        sleep 0.05
      end
      assert_equal count, starts.size, @app.read("tmp/puma.log")
      starts
    end
end
