# frozen_string_literal: true

require "rails/generators/base"
require "durable_streams/rails/server_binary"

module DurableStreams
  module Generators
    # bin/rails generate durable_streams:install
    class InstallGenerator < ::Rails::Generators::Base
      source_root File.expand_path("templates", __dir__)

      class_option :version, type: :string, desc: "Server version to run (default: the current one, else #{DurableStreams::Rails::VERSION})"
      class_option :skip_procfile, type: :boolean, default: false, desc: "Do not change Procfile.dev and bin/dev"

      # Rails' own bin/dev does not run a Procfile.
      RAILS_BIN_DEV = "#!/usr/bin/env ruby\nexec \"./bin/rails\", \"server\", *ARGV\n"
      RAILS_BIN_DEV_PATTERN = /\A#!.*ruby.*\n+exec "\.\/bin\/rails", "server", \*ARGV\n*\z/

      # Programs that run a Procfile.
      PROCFILE_RUNNER = /procfile|foreman|overmind|hivemind|goreman|honcho|mprocs/i

      PROCFILE = "web: bin/rails server\nstreams: bin/durable-streams\n"
      PROCFILE_LINE = "streams: bin/durable-streams"

      # Lines of .gitignore, with the directories that they match.
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

        if rails_bin_dev?
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

      def say_next_steps # :nodoc:
        behavior == :revoke ? say_leftovers : say_how_to_start
      end

      private
        def say_how_to_start
          say <<~TEXT

            Next: #{start}.
            The first start generates keys for this machine; bin/rails durable_streams:generate_keys does so now.
            Before you deploy, read the comments in config/durable_streams.yml.
          TEXT
          say "bin/durable-streams still runs server #{server_version}; this gem's version is --version=#{DurableStreams::Rails::VERSION}." if server_version != DurableStreams::Rails::VERSION && options[:version].nil?
        end

        def start
          if options[:skip_procfile]
            "bin/durable-streams and, beside it, bin/rails server"
          elsif runs_procfile?
            "bin/dev"
          else
            "bin/durable-streams and, beside it, bin/dev, which runs no Procfile in this app (or let Puma run the server: plugin :durable_streams in config/puma.rb)"
          end
        end

        def say_leftovers
          left = IGNORED.values.select { |directory| exist?(directory) }
          say <<~TEXT

            Removed the generated files, with your changes to them.#{" #{left.to_sentence} still #{left.one? ? "exists and is" : "exist and are"} ignored: delete what you no longer need, and the line#{"s" if left.many?} in .gitignore." if left.any?} Streams are in storage/durable_streams.
            Remove the rest yourself: the gem in the Gemfile, streams and streams_to in models, durable_streams in the credentials and in config/puma.rb.
          TEXT
        end

        def runs_procfile?
          !exist?("bin/dev") || rails_bin_dev? || read("bin/dev").match?(PROCFILE_RUNNER)
        end

        def rails_bin_dev?
          !exist?("bin/dev") || read("bin/dev").match?(RAILS_BIN_DEV_PATTERN)
        end

        # Removes an unchanged Procfile.dev, and the bin/dev that runs it.
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

        # Since 8.0 every app has a bin/dev.
        def revert_bin_dev
          return remove("bin/dev") if ::Rails::VERSION::MAJOR < 8

          say_status :revert, "bin/dev"
          File.write expand("bin/dev"), RAILS_BIN_DEV unless options[:pretend]
        end

        # Thor's remove_file does nothing while revoking.
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

        def server_version
          @server_version ||= options[:version] || DurableStreams::Rails::ServerBinary.pinned_version(destination_root) || DurableStreams::Rails::VERSION
        end
    end
  end
end
