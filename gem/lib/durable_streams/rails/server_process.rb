# frozen_string_literal: true

require "active_support/fork_tracker"
require "io/nonblock"
require_relative "monotonic_clock"
require_relative "pid_file"

module DurableStreams
  module Rails
    # Runs a server process, restarts it when it dies, and stops it when this process
    # ends, however that happens. Used by the Puma plugin.
    class ServerProcess
      # The server's exit status for an invalid configuration: a restart would not help.
      CONFIGURATION_ERROR = 78

      # Seconds before a restart. The delay doubles with each restart up to the maximum.
      RESTART_DELAYS = 0.5..10

      # The restart delay is reset when the server has run this many seconds.
      STABLE_AFTER = 30

      # Seconds that the server may take to stop before it is killed.
      STOP_TIMEOUT = 10

      # Becomes the server, and leaves a watchdog beside it. The watchdog reads from a
      # pipe whose other end this process holds: a line means that the server has
      # ended, and end of file that this process has, even by SIGKILL.
      SCRIPT = <<~SH
        server=$$ seconds=$1
        shift
        ( (
          trap "" HUP INT QUIT TERM
          read -r _ <&3 && exit
          kill -TERM $server || exit
          while [ $seconds -gt 0 ]; do
            sleep 1
            kill -0 $server || exit
            seconds=$((seconds - 1))
          done
          kill -KILL $server
        ) </dev/null >/dev/null 2>&1 & )
        exec 3<&-
        exec "$@"
      SH
      private_constant :SCRIPT

      def initialize(command:, log:, pid_file: nil, restart_delays: RESTART_DELAYS, stop_timeout: STOP_TIMEOUT)
        @command, @log = command, log
        @pid_file = PidFile.new(pid_file) if pid_file
        @restart_delays, @stop_timeout = restart_delays, stop_timeout
        # A worker that outlives its master would keep the pipe open.
        ActiveSupport::ForkTracker.after_fork { @pipe&.close }
      end

      # Starts the server and a thread that supervises it.
      def start
        @stopping = false
        @thread = Thread.new { supervise }
      end

      # Stops the server and waits for its end. Puma calls this from a signal handler,
      # where no mutex may be locked.
      def stop
        @stopping = true
        @log.call "Stopping Durable Streams..." if @pid
        @thread.wakeup if @thread&.alive?
        signal(:TERM)
        signal(:KILL) unless @thread.nil? || @thread.join(@stop_timeout)
        @thread&.join(@stop_timeout)
      end

      def wait
        @thread&.join
      end

      private
        def supervise
          return give_up("#{@command} does not exist or is not executable; bin/rails generate durable_streams:install creates it") unless executable?

          delay = @restart_delays.first
          until @stopping
            take_over
            break if @stopping

            started_at = MonotonicClock.now
            status = run
            break if @stopping
            break give_up("the server rejected its configuration") if status&.exitstatus == CONFIGURATION_ERROR

            delay = @restart_delays.first if MonotonicClock.now - started_at > STABLE_AFTER
            @log.call "Durable Streams ended (#{status}), restarting in #{delay} s..."
            sleep delay
            delay = [ delay * 2, @restart_delays.last ].min
          end
        end

        def executable?
          File.file?(@command) && File.executable?(@command)
        end

        def give_up(reason)
          @log.call "Durable Streams: #{reason}. Correct that and restart Puma."
        end

        # Waits while another Puma of this app runs the server. Ends a server whose Puma
        # and watchdog were both killed.
        def take_over
          announced = false
          until @stopping || @pid_file.nil? || (server = @pid_file.server).nil?
            if @pid_file.started_by_another?
              @log.call "Another Puma runs Durable Streams (pid #{server.pid}); waiting for it to stop..." unless announced
              announced = true
              sleep 1
            else
              end_orphan server
            end
          end
        end

        def end_orphan(server)
          @log.call "Ending the Durable Streams server of an earlier Puma (pid #{server.pid})..."
          Process.kill :TERM, server.pid
          (@stop_timeout * 10).to_i.times { ended?(server) ? return : sleep(0.1) }
          Process.kill :KILL, server.pid
          sleep 0.1 until ended?(server)
        rescue Errno::ESRCH
          nil
        end

        # After a hot restart the server is this process's child, and a zombie until it
        # is waited for.
        def ended?(server)
          Process.wait(server.pid, Process::WNOHANG)
          !server.alive?
        rescue Errno::ECHILD
          !server.alive?
        end

        # The server has its own process group, so that Ctrl-C only reaches Puma.
        def run
          reader, @pipe = IO.pipe
          reader.nonblock = false # The watchdog's shell must block.
          @pid = Process.spawn("/bin/sh", "-c", SCRIPT, "durable-streams", @stop_timeout.ceil.to_s, @command, in: File::NULL, 3 => reader, pgroup: true)
          reader.close
          @pid_file&.write(@pid)
          signal(:TERM) if @stopping
          Process.wait2(@pid).last
        rescue SystemCallError => error
          @log.call "Durable Streams: #{error.message}"
          nil
        ensure
          @pid = nil
          @pid_file&.delete
          dismiss_watchdog
        end

        def dismiss_watchdog
          @pipe&.puts
        rescue SystemCallError
          nil # The watchdog has ended.
        ensure
          @pipe&.close
          @pipe = nil
        end

        def signal(name)
          pid = @pid
          Process.kill(name, pid) if pid
        rescue Errno::ESRCH
          nil
        end
    end
  end
end
