# frozen_string_literal: true

require "fileutils"

module DurableStreams
  module Rails
    # Records the running server and the process that started it, each with its start
    # time, because a pid alone may have been reused.
    class PidFile
      # A process that existed when the file was written.
      Entry = Struct.new(:pid, :started_at) do
        def self.of(pid)
          new(pid, started_at(pid))
        end

        # The start time in the system's own format, or nil if there is no such process.
        def self.started_at(pid)
          if File.directory?("/proc/self")
            state, *fields = File.read("/proc/#{pid}/stat").rpartition(") ").last.split
            fields[18] unless state == "Z"
          else
            IO.popen([ "ps", "-o", "lstart=", "-p", pid.to_s ], &:read).split.join("-")[/.+/]
          end
        rescue SystemCallError
          nil
        end

        def alive?
          !started_at.nil? && self.class.started_at(pid) == started_at
        end
      end

      def initialize(path)
        @path = path
      end

      # Returns the recorded server if it is still running.
      def server
        entry = entries.first
        entry if entry&.alive?
      end

      # Whether another process started the server and is still running.
      def started_by_another?
        owner = entries.last
        owner.pid != Process.pid && owner.alive? if owner
      end

      # Records this process's server, unless another's is running.
      def write(pid)
        return if server && started_by_another?

        FileUtils.mkdir_p File.dirname(@path)
        lines = [ Entry.of(pid), Entry.of(Process.pid) ].map { |entry| "#{entry.pid} #{entry.started_at}\n" }
        partial = "#{@path}.#{Process.pid}"
        File.write(partial, lines.join)
        File.rename(partial, @path)
      rescue SystemCallError
        nil # On a read-only file system, orphans are not found after a crash.
      end

      def delete
        FileUtils.rm_f @path unless started_by_another?
      end

      private
        def entries
          lines = File.readlines(@path, chomp: true, encoding: Encoding::BINARY)
          lines.size == 2 ? lines.map { |line| Entry.new(line.to_i, line.split(" ", 2).last) } : []
        rescue SystemCallError
          []
        end
    end
  end
end
