# frozen_string_literal: true

require "rails/generators/named_base"

module DurableStreams
  module Generators
    # bin/rails generate durable_streams:handler NAME [STREAM]
    class HandlerGenerator < ::Rails::Generators::NamedBase
      source_root File.expand_path("templates", __dir__)

      argument :streamables, type: :array, default: [], banner: "Model part part", desc: "The streams, as arguments of subscribes_to"

      class_option :via, type: :string, default: "webhook", enum: %w[ webhook worker ], desc: "How events reach the handler"

      MOUNT = 'mount DurableStreams::Engine => "/durable_streams"'
      PROCFILE_LINE = "handlers: bin/rails durable_streams:work"

      check_class_collision suffix: "Handler"

      def create_handler # :nodoc:
        template "handler.rb", File.join("app/handlers", class_path, "#{file_name}_handler.rb")
      end

      def create_test # :nodoc:
        template "handler_test.rb", File.join("test/handlers", class_path, "#{file_name}_handler_test.rb") unless rspec?
      end

      # Other handlers may need the route or the process when this one is destroyed.
      def add_route # :nodoc:
        route MOUNT if via_webhook? && behavior == :invoke && !read("config/routes.rb").match?(/^\s*mount DurableStreams::/)
      end

      def add_process # :nodoc:
        content = read("Procfile.dev")
        if !via_webhook? && behavior == :invoke && content.present? && content.exclude?("durable_streams:work")
          append_to_file "Procfile.dev", "#{"\n" unless content.end_with?("\n")}#{PROCFILE_LINE}\n"
        end
      end

      def say_next_steps # :nodoc:
        return if behavior == :revoke

        say <<~TEXT

          Next: #{via_webhook? ? "bin/rails durable_streams:subscriptions:sync, while the server runs" : "bin/rails durable_streams:work"}. Do so in each deploy too.
        TEXT
      end

      private
        def file_name
          @_file_name ||= super.delete_suffix("_handler")
        end

        def via_webhook?
          options[:via] == "webhook"
        end

        # As written in Ruby: a model, a symbol, or a string for anything else.
        def declaration
          parts = streamables.map do |streamable|
            case streamable
            when /\A[A-Z]\w*(::[A-Z]\w*)*\z/ then streamable
            when /\A[a-z_]\w*\z/ then ":#{streamable}"
            else streamable.inspect
            end
          end
          parts << "#{file_path}/**".inspect if parts.empty?
          [ *parts, ("via: :worker" unless via_webhook?) ].compact.join(", ")
        end

        def stream_example
          parts = streamables.map { |streamable| streamable.match?(/\A[A-Z]/) ? "#{streamable.demodulize.underscore.pluralize}(:one)" : streamable.match?(/\A[a-z_]\w*\z/) ? ":#{streamable}" : streamable.gsub("*", "1").inspect }
          parts.empty? ? "#{file_path}/1".inspect : parts.one? ? parts.first : "[ #{parts.join(", ")} ]"
        end

        def rspec?
          File.exist?(expand("spec")) && !File.exist?(expand("test"))
        end

        def read(file)
          File.exist?(expand(file)) ? File.read(expand(file)) : ""
        end

        def expand(file)
          File.expand_path(file, destination_root)
        end
    end
  end
end
