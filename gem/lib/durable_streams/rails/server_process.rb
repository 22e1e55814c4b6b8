# frozen_string_literal: true

require "active_support/fork_tracker"
require "io/nonblock"
require_relative "server_record"

module DurableStreams
  module Rails
    # A server process that is started again when it dies, and that ends with the
    # process that started it, however that ends. Used by the Puma plugin.
    class ServerProcess
      # How the server says that its configuration is wrong: starting it again would not help.
      CONFIGURATION_ERROR = 78

      # Seconds between a death and the next start; doubled each time up to the longest.
      PAUSES = 0.5..10

      # A server that lived so long, in seconds, died of something new.
      STEADY = 30

      # How long it may take to stop, in seconds, before it is killed.
      PATIENCE = 10

      # Becomes the server, after leaving a guard beside it that reads from a pipe.
      # The other end is this process's: a line says that the server has ended,
      # and end of file that this process has, even by SIGKILL.
      GUARDED = <<~SH
        server=$$
        ( (
          trap "" HUP INT QUIT TERM
          read -r _ <&3 && exit
          kill -TERM $server || exit
          seconds=0
          while [ $seconds -lt #{PATIENCE} ]; do
            sleep 1
            kill -0 $server || exit
            seconds=$((seconds + 1))
          done
          kill -KILL $server
        ) </dev/null >/dev/null 2>&1 & )
        exec 3<&-
        exec "$@"
      SH

      def initialize(command:, log:, pid_file: nil)
        @command = command
        @log = log
        @record = ServerRecord.new(pid_file) if pid_file
        # A worker that outlived its master would keep the pipe open.
        ActiveSupport::ForkTracker.after_fork { @pipe&.close }
      end

      # Starts the server and watches over it from a thread.
      def start
        @stopping = false
        @thread = Thread.new { watch }
      end

      # Stops the server and returns when it has. Puma calls this from a signal
      # handler, where no mutex may be locked.
      def stop
        @stopping = true
        @log.call "Stopping Durable Streams..." if @pid
        @thread.wakeup if @thread&.alive?
        signal(:TERM)
        signal(:KILL) unless @thread.nil? || @thread.join(PATIENCE)
        @thread&.join(PATIENCE)
      end

      private
        def watch
          return give_up("#{@command} is not there, or not executable. bin/rails generate durable_streams:install makes it") unless executable?

          pause = PAUSES.first
          until @stopping
            take_over
            break if @stopping

            started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
            status = run
            break if @stopping
            break give_up("It does not start with this configuration") if status&.exitstatus == CONFIGURATION_ERROR

            pause = PAUSES.first if Process.clock_gettime(Process::CLOCK_MONOTONIC) - started > STEADY
            @log.call "Durable Streams went away (#{status}), starting it again in #{pause} s..."
            sleep pause
            pause = [ pause * 2, PAUSES.last ].min
          end
        end

        def executable?
          File.file?(@command) && File.executable?(@command)
        end

        def give_up(reason)
          @log.call "Durable Streams: #{reason}. Correct that and restart Puma."
        end

        # A server that another Puma of this app runs is waited for. One whose Puma
        # is gone, and whose guard was killed too, is ended.
        def take_over
          announced = false
          until @stopping || @record.nil? || (server = @record.server).nil?
            if @record.started_by_another?
              @log.call "Durable Streams is run by another Puma (pid #{server.pid}); this one runs it when that has stopped." unless announced
              announced = true
              sleep 1
            else
              end_orphan server
            end
          end
        end

        def end_orphan(server)
          @log.call "Ending a Durable Streams server (pid #{server.pid}) of an earlier Puma..."
          Process.kill :TERM, server.pid
          (PATIENCE * 10).times { gone?(server) ? return : sleep(0.1) }
          Process.kill :KILL, server.pid
          sleep 0.1 until gone?(server)
        rescue Errno::ESRCH
          nil
        end

        # After a hot restart it is this process's child, and stays a zombie until it is waited for.
        def gone?(server)
          Process.wait(server.pid, Process::WNOHANG)
          !server.alive?
        rescue Errno::ECHILD
          !server.alive?
        end

        # In a process group of its own: Ctrl-C is for Puma, which then stops the server.
        def run
          reader, @pipe = IO.pipe
          reader.nonblock = false # The guard's shell cannot wait otherwise.
          @pid = Process.spawn("/bin/sh", "-c", GUARDED, "durable-streams", @command, in: File::NULL, 3 => reader, pgroup: true)
          reader.close
          @record&.write(@pid)
          signal(:TERM) if @stopping
          Process.wait2(@pid).last
        rescue SystemCallError => error
          @log.call "Durable Streams: #{error.message}"
          nil
        ensure
          @pid = nil
          @record&.delete
          release_guard
        end

        def release_guard
          @pipe&.puts
        rescue SystemCallError
          nil # There is no guard any longer.
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
