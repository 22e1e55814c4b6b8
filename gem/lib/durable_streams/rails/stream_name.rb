# frozen_string_literal: true

module DurableStreams
  module Rails
    # Names streams. Records are named by their Global ID, strings and symbols by
    # themselves, and parts are joined by slashes:
    #
    #   stream_name_from(room)                 # => "gid://app/Room/1"
    #   stream_name_from([ room, :messages ])  # => "gid://app/Room/1/messages"
    #   stream_name_from("boards")             # => "boards"
    #
    # With <tt>config.durable_streams.stream_name_format = :gid_param</tt> records
    # are named by the Base64 form of the Global ID, as in Turbo.
    #
    # A Global ID names neither the tenant nor the shard of its record. Apps with
    # several put the tenant first in every name:
    #
    #   config.durable_streams.stream_prefix = -> { Current.tenant&.slug }
    #
    # Strings are taken as they are: one that holds a slash can name another
    # stream, so do not build names from user input.
    module StreamName
      # The longest name that the server takes, in bytes.
      MAX_BYTES = 1024

      # The path of a stream below the server's route: slashes and colons stay
      # readable, everything else that is not plain is percent-encoded.
      def self.to_path(name)
        name.b.gsub(/[^A-Za-z0-9\-._~\/:]/n) { |byte| format("%%%02X", byte.ord) }
      end

      private
        def stream_name_from(streamables)
          verify_stream_name([ stream_prefix, join_streamables(streamables) ].compact.join("/"))
        end

        def stream_prefix
          prefix = DurableStreams.config.stream_prefix
          prefix = prefix.call if prefix.respond_to?(:call)
          begin
            join_streamables(prefix) unless prefix.nil?
          rescue ArgumentError => error
            raise ArgumentError, "config.durable_streams.stream_prefix: #{error.message}"
          end
        end

        # A blank part raises: [ nil, :messages ] must not name a stream that all
        # records share.
        def join_streamables(streamables)
          case streamables
          when Array
            raise ArgumentError, "a stream name has a blank part: []" if streamables.empty?
            streamables.map { |streamable| join_streamables(streamable) }.join("/")
          when String, Symbol
            stream_name_part(streamables, "a stream name")
          else
            if streamables.respond_to?(:to_gid)
              stream_name_of_record(streamables)
            elsif defined?(::GlobalID) && streamables.is_a?(::GlobalID)
              stream_name_of_global_id(streamables)
            else
              stream_name_of_object(streamables)
            end
          end
        end

        def stream_name_of_record(record)
          if Array(record.id).empty? || Array(record.id).any?(&:blank?)
            raise ArgumentError, "a stream cannot be named by a #{record.class} without an id: save it first"
          end

          stream_name_of_global_id(record.to_gid)
        end

        # A Global ID names the stream of its record, also when it is signed.
        def stream_name_of_global_id(gid)
          gid_param_names? ? Base64.urlsafe_encode64(gid.uri.to_s, padding: false) : gid.uri.to_s
        end

        def stream_name_of_object(object)
          case object
          when Hash
            raise ArgumentError, "a stream cannot be named by a Hash: write the event's keywords without braces"
          when Proc, Method, Enumerable, true, false
            raise ArgumentError, "a stream cannot be named by a #{object.class}: give records, strings or symbols"
          end
          if object.respond_to?(:to_key)
            raise ArgumentError, "#{object.class} has no Global ID to name a stream by: include GlobalID::Identification in it"
          end

          name = stream_name_part(object.to_param, "a stream name")
          if name.start_with?("#<") || object.respond_to?(:each_pair)
            raise ArgumentError, "a stream cannot be named by a #{object.class}: give records, strings or symbols"
          end
          name
        end

        def stream_name_part(part, what)
          part = part.to_s
          part = part.encoding == Encoding::BINARY ? part.dup.force_encoding(Encoding::UTF_8) : part.encode(Encoding::UTF_8)
          raise ArgumentError, "#{what} is not valid UTF-8: #{part.inspect.truncate(100)}" unless part.valid_encoding?
          raise ArgumentError, "#{what} has a blank part: #{part.inspect}" if part.blank?
          part
        rescue EncodingError
          raise ArgumentError, "#{what} is not valid UTF-8: #{part.inspect.truncate(100)}"
        end

        def gid_param_names?
          DurableStreams.config.stream_name_format == :gid_param
        end

        # The server refuses these too; here the caller is still on the stack.
        def verify_stream_name(name)
          problem =
            if name.bytesize > MAX_BYTES then "is longer than #{MAX_BYTES} bytes"
            elsif name.match?(/[[:cntrl:]]/) then "has a control character"
            elsif name.match?(/(\A|\/)\.{1,2}(\/|\z)/) then "has a . or .. segment"
            elsif name.match?(/\A__ds(\/|\z)/) then "is under __ds, which is reserved"
            elsif name.match?(/gid:\/(?!\/)/) then "has gid:/ with one slash, where a Global ID has two"
            end

          problem ? raise(ArgumentError, "the stream name #{name.truncate(100).inspect} #{problem}") : name
        end
    end
  end
end
