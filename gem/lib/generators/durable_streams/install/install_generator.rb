# frozen_string_literal: true

require "rails/generators/base"
require "durable_streams/rails/server_binary"

module DurableStreams
  module Generators
    # bin/rails generate durable_streams:install
    class InstallGenerator < ::Rails::Generators::Base
      source_root File.expand_path("templates", __dir__)

      class_option :version, type: :string, default: DurableStreams::Rails::VERSION, desc: "The server version that bin/durable-streams runs"
      class_option :skip_procfile, type: :boolean, default: false, desc: "Leave Procfile.dev and bin/dev alone"

      # What is left of Rails' own bin/dev runs no Procfile.
      BARE_BIN_DEV = /\A#!.*ruby.*\n+exec "\.\/bin\/rails", "server", \*ARGV\n*\z/

      def verify_version # :nodoc:
        unless options[:version].match?(/\A\d+\.\d+\.\d+([-.]?[0-9A-Za-z.]+)?\z/)
          raise Thor::Error, "--version must be a version such as 0.1.0, not #{options[:version].inspect}"
        end
      end

      def create_configuration # :nodoc:
        template "config/initializers/durable_streams.rb", skip: true
        template "config/durable_streams.yml", skip: true
      end

      def create_binstub # :nodoc:
        template "bin/durable-streams", force: true
        chmod "bin/durable-streams", 0o755, verbose: false
      end

      def update_procfile # :nodoc:
        return if options[:skip_procfile]

        if File.exist?(expand("Procfile.dev"))
          append_line "Procfile.dev", "streams: bin/durable-streams", unless_match: /^streams:/
        else
          create_file "Procfile.dev", "web: bin/rails server\nstreams: bin/durable-streams\n"
        end
      end

      def update_bin_dev # :nodoc:
        return if options[:skip_procfile]

        if !File.exist?(expand("bin/dev")) || File.read(expand("bin/dev")).match?(BARE_BIN_DEV)
          copy_file "bin/dev", force: true
          chmod "bin/dev", 0o755, verbose: false
        end
      end

      def update_ignore_files # :nodoc:
        create_file ".gitignore", "" unless File.exist?(expand(".gitignore"))
        [ ".gitignore", ".dockerignore" ].select { |file| File.exist?(expand(file)) }.each do |file|
          append_line file, "/bin/dist/", unless_match: %r{^/?bin/dist/?$}
          append_line file, "/config/keys/", unless_match: %r{^/?config/keys/?$}
        end
      end

      def say_what_is_next # :nodoc:
        say <<~TEXT

          Next: bin/rails durable_streams:generate_keys, then bin/dev.
          Before you deploy, read the comments in config/durable_streams.yml.
        TEXT
      end

      private
        def append_line(file, line, unless_match:)
          content = File.read(expand(file))
          unless content.match?(unless_match)
            append_to_file file, "#{"\n" unless content.empty? || content.end_with?("\n")}#{line}\n"
          end
        end

        def expand(file)
          File.expand_path(file, destination_root)
        end

        def server_version
          options[:version]
        end

        def checksums
          DurableStreams::Rails::ServerBinary.checksums(server_version)
        end
    end
  end
end
