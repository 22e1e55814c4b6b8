# frozen_string_literal: true

module DurableStreams
  module Rails
    # A server process that is started again when it dies. Behind the Puma plugin.
    class ServerProcess
      # How the server says that its configuration is wrong: starting it again would not help.
      CONFIGURATION_ERROR = 78

      # Seconds between a death and the next start; doubled each time up to the longest.
      PAUSES = 0.5..10

      # A server that lived so long, in seconds, died of something new.
      STEADY = 30

      # How long it may take to stop, in seconds, before it is killed.
      PATIENCE = 10

      def initialize(command:, log:)
        @command = command
        @log = log
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
          pause = PAUSES.first
          until @stopping
            started = Process.clock_gettime(Process::CLOCK_MONOTONIC)
            status = run
            break if @stopping

            if status&.exitstatus == CONFIGURATION_ERROR
              @log.call "Durable Streams does not start with this configuration. Mend it and restart Puma."
              break
            end

            pause = PAUSES.first if Process.clock_gettime(Process::CLOCK_MONOTONIC) - started > STEADY
            @log.call "Durable Streams went away (#{status}), starting it again in #{pause} s..."
            sleep pause
            pause = [ pause * 2, PAUSES.last ].min
          end
        end

        def run
          @pid = Process.spawn(@command, in: :close)
          signal(:TERM) if @stopping
          Process.wait2(@pid).last
        rescue SystemCallError => error
          @log.call "Durable Streams: #{error.message}"
          nil
        ensure
          @pid = nil
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
