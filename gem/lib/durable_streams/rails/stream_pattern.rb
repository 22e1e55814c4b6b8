# frozen_string_literal: true

module DurableStreams
  module Rails
    # The names of the streams that a handler subscribes to. Models stand for all of
    # their records:
    #
    #   StreamPattern.new([ Room, :messages ]).to_s   # => "gid://app/Room/*/messages"
    #
    # In strings, <tt>*</tt> is one segment of a name and <tt>**</tt> any number of them.
    class StreamPattern # :nodoc:
      def initialize(streamables)
        raise ArgumentError, "subscribes_to needs a model, a record, a string or a symbol" if streamables.empty?
        @streamables = streamables
      end

      # Depends on the settings, and on the name of the app, which Global IDs contain.
      def to_s
        StreamName.verify([ prefix, *@streamables.map { |streamable| part(streamable) } ].compact.join("/"))
      end

      # Whether the server regards both patterns as the same one.
      def same?(pattern)
        to_s.squeeze("/") == pattern.to_s.squeeze("/")
      end

      def match?(name)
        regexp.match?("/#{name}")
      end

      # The record in the name of a stream: of the model, or of the first one in the
      # pattern.
      def locate(name, model = nil)
        models = @streamables.select { |streamable| model?(streamable) }
        raise ArgumentError, "the streams #{self} have no record: subscribes_to names no model" if models.empty?
        raise ArgumentError, "the streams #{self} have no #{model.name}: subscribes_to does not name it" unless model.nil? || models.include?(model)

        model ||= models.first
        gid = name[/#{Regexp.escape(gid_prefix(model))}\/#{([ "[^/]+" ] * key_size(model)).join("/")}/] ||
          raise(ArgumentError, "#{name} is not one of the streams #{self}")
        GlobalID::Locator.locate(gid, only: model)
      end

      private
        # A prefix that depends on the tenant may have any number of segments.
        def prefix
          prefix = DurableStreams.config.stream_prefix
          return if prefix.nil?
          prefix.respond_to?(:call) ? "**" : StreamName.join(prefix)
        end

        def part(streamable)
          return StreamName.join(streamable) unless model?(streamable)

          [ gid_prefix(streamable), *([ "*" ] * key_size(streamable)) ].join("/")
        end

        def model?(streamable)
          streamable.is_a?(Class) && streamable.method_defined?(:to_gid)
        end

        def gid_prefix(model)
          if DurableStreams.config.stream_name_format == :gid_param
            raise ConfigurationError, "subscribes_to #{model.name} needs config.durable_streams.stream_name_format = :gid; Base64 names have no pattern"
          end
          "gid://#{GlobalID.app}/#{model.name}"
        end

        def key_size(model)
          model.respond_to?(:primary_key) ? [ Array(model.primary_key).size, 1 ].max : 1
        end

        def regexp
          Regexp.new("\\A#{to_s.split("/", -1).map { |segment| segment_regexp(segment) }.join}\\z")
        end

        def segment_regexp(segment)
          case segment
          when "**" then "(?:/[^/]*)*"
          when "*" then "/[^/]+"
          else "/#{Regexp.escape(segment)}"
          end
        end
    end
  end
end
