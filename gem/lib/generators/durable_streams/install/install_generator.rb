# frozen_string_literal: true

require "rails/generators/base"
require "durable_streams/rails/server_binary"

module DurableStreams
  module Generators
    # bin/rails generate durable_streams:install
    class InstallGenerator < ::Rails::Generators::Base
      source_root File.expand_path("templates", __dir__)

      class_option :version, type: :string, desc: "The server version that bin/durable-streams runs (the one it runs already, else #{DurableStreams::Rails::VERSION})"
      class_option :skip_procfile, type: :boolean, default: false, desc: "Leave Procfile.dev and bin/dev alone"

      # Rails' own bin/dev, which runs no Procfile.
      BARE = "#!/usr/bin/env ruby\nexec \"./bin/rails\", \"server\", *ARGV\n"
      BARE_BIN_DEV = /\A#!.*ruby.*\n+exec "\.\/bin\/rails", "server", \*ARGV\n*\z/

      # The program that runs a Procfile.
      PROCFILE_RUNNER = /procfile|foreman|overmind|hivemind|goreman|honcho|mprocs/i

      PROCFILE = "web: bin/rails server\nstreams: bin/durable-streams\n"
      PROCFILE_LINE = "streams: bin/durable-streams"

      # Each with the directory that it keeps out of the repository.
      IGNORED = { "/bin/dist/" => "bin/dist", "/config/keys/" => "config/keys" }.freeze

      def verify_version # :nodoc:
        unless server_version.match?(/\A\d+\.\d+\.\d+([-.]?[0-9A-Za-z.]+)?\z/)
          raise Thor::Error, "--version must be a version such as 0.1.0, not #{server_version.inspect}"
        end
      end

      def create_configuration # :nodoc:
        template "config/initializers/durable_streams.rb", skip: true
        template "config/durable_streams.yml", skip: true
      end

      def create_binstub # :nodoc:
        template "bin/durable-streams"
        chmod "bin/durable-streams", 0o755, verbose: false if behavior == :invoke
      end

      def update_procfile # :nodoc:
        return if options[:skip_procfile]

        if behavior == :revoke
          remove_procfile_entry
        elsif exist?("Procfile.dev")
          append_line "Procfile.dev", PROCFILE_LINE, unless_match: /^streams:/
        elsif runs_procfile?
          create_file "Procfile.dev", PROCFILE
        end
      end

      def update_bin_dev # :nodoc:
        return if options[:skip_procfile] || behavior == :revoke

        if bare_bin_dev?
          copy_file "bin/dev", force: true
          chmod "bin/dev", 0o755, verbose: false
        end
      end

      def update_ignore_files # :nodoc:
        create_file ".gitignore", "" if behavior == :invoke && !exist?(".gitignore")
        [ ".gitignore", ".dockerignore" ].select { |file| exist?(file) }.each do |file|
          IGNORED.each do |line, directory|
            if behavior == :invoke
              append_line file, line, unless_match: %r{^/?#{directory}/?$}
            elsif !exist?(directory)
              remove_line file, line
            end
          end
        end
      end

      def say_what_is_next # :nodoc:
        behavior == :revoke ? say_what_is_left : say_how_to_start
      end

      private
        def say_how_to_start
          say <<~TEXT

            Next: #{start}.
            The first start makes this machine's keys; bin/rails durable_streams:generate_keys makes them now.
            Before you deploy, read the comments in config/durable_streams.yml.
          TEXT
          say "bin/durable-streams runs server #{server_version} as before; --version=#{DurableStreams::Rails::VERSION} is this gem's." if server_version != DurableStreams::Rails::VERSION && options[:version].nil?
        end

        def start
          if options[:skip_procfile]
            "bin/durable-streams, beside bin/rails server"
          elsif runs_procfile?
            "bin/dev"
          else
            "bin/durable-streams, beside bin/dev, which runs no Procfile here (or plugin :durable_streams in config/puma.rb runs it with Puma)"
          end
        end

        def say_what_is_left
          left = IGNORED.values.select { |directory| exist?(directory) }
          say <<~TEXT

            Removed, with what was edited in it. #{"#{left.to_sentence} #{left.one? ? "is" : "are"} still there and still ignored: delete what you no longer need, and the line#{"s" if left.many?} in .gitignore. " if left.any?}Streams are in storage/durable_streams.
            What is left is yours to remove: the gem in the Gemfile, streams and streams_to in models, durable_streams in the credentials and in config/puma.rb.
          TEXT
        end

        def runs_procfile?
          !exist?("bin/dev") || bare_bin_dev? || read("bin/dev").match?(PROCFILE_RUNNER)
        end

        def bare_bin_dev?
          !exist?("bin/dev") || read("bin/dev").match?(BARE_BIN_DEV)
        end

        # A Procfile.dev that only this generator wrote goes, and with it the bin/dev
        # that runs nothing else.
        def remove_procfile_entry
          return unless exist?("Procfile.dev")

          if read("Procfile.dev") == PROCFILE
            remove "Procfile.dev"
            if exist?("bin/dev") && read("bin/dev") == File.read(File.join(self.class.source_root, "bin/dev"))
              revert_bin_dev
            end
          else
            remove_line "Procfile.dev", PROCFILE_LINE
          end
        end

        # As Rails makes it: from 8.0 on there is one in every app.
        def revert_bin_dev
          return remove("bin/dev") if ::Rails::VERSION::MAJOR < 8

          say_status :revert, "bin/dev"
          File.write expand("bin/dev"), BARE unless options[:pretend]
        end

        # Thor's remove_file does nothing while it revokes.
        def remove(file)
          say_status :remove, file
          File.delete expand(file) unless options[:pretend]
        end

        def append_line(file, line, unless_match:)
          content = read(file)
          unless content.match?(unless_match)
            append_to_file file, "#{"\n" unless content.empty? || content.end_with?("\n")}#{line}\n"
          end
        end

        def remove_line(file, line)
          lines = read(file).lines
          kept = lines.reject { |other| other.chomp == line }
          if kept != lines
            say_status :subtract, file
            File.write expand(file), kept.join unless options[:pretend]
          end
        end

        def exist?(file)
          File.exist?(expand(file))
        end

        def read(file)
          File.read(expand(file))
        end

        def expand(file)
          File.expand_path(file, destination_root)
        end

        # The version that is asked for, else the one that the binstub runs already.
        def server_version
          @server_version ||= options[:version] || DurableStreams::Rails::ServerBinary.pinned_version(destination_root) || DurableStreams::Rails::VERSION
        end

        def checksums
          DurableStreams::Rails::ServerBinary.checksums(server_version)
        end
    end
  end
end
