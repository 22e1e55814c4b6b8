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
    # A Global ID includes neither the tenant nor the shard of its record. Apps that
    # have several put the tenant first in every name:
    #
    #   config.durable_streams.stream_prefix = -> { Current.tenant&.slug }
    #
    # Strings are not escaped: one with a slash can name another stream, so never
    # build names from user input.
    module StreamName
      # The server's limit.
      MAX_BYTES = 1024

      class << self
        # The complete name for the streamables. Raises ArgumentError for names that
        # the server would refuse and for blank parts: [ nil, :messages ] must not
        # name a stream that all records share.
        def from(streamables) # :nodoc:
          verify([ prefix, join(streamables) ].compact.join("/"))
        end

        # The URL path of a stream below the server's route, with readable slashes
        # and colons.
        def to_path(name)
          name.b.gsub(/[^A-Za-z0-9\-._~\/:]/n) { |byte| format("%%%02X", byte.ord) }
        end

        # The name in the form of #from. The server compares names without regard to
        # repeated slashes, which proxies merge.
        def restore(name) # :nodoc:
          name.gsub(/(?<=\Agid:|\/gid:)\/(?!\/)/, "//")
        end

        # The name of the streamables, without the prefix.
        def join(streamables) # :nodoc:
          case streamables
          when Array
            raise ArgumentError, "a stream name has a blank part: []" if streamables.empty?
            streamables.map { |streamable| join(streamable) }.join("/")
          when String, Symbol
            part_from(streamables)
          else
            if streamables.respond_to?(:to_gid)
              from_record(streamables)
            elsif defined?(::GlobalID) && streamables.is_a?(::GlobalID)
              from_global_id(streamables)
            else
              from_object(streamables)
            end
          end
        end

        # The server checks this too, but only here is the caller on the stack.
        def verify(name) # :nodoc:
          problem =
            if name.bytesize > MAX_BYTES then "is longer than #{MAX_BYTES} bytes"
            elsif name.match?(/[[:cntrl:]]/) then "contains a control character"
            elsif name.match?(/(\A|\/)\.{1,2}(\/|\z)/) then "contains a . or .. segment"
            elsif name.match?(/\A__ds(\/|\z)/) then "starts with __ds, which is reserved"
            elsif name.match?(/gid:\/(?!\/)/) then "contains gid:/ with one slash; a Global ID has two"
            end

          problem ? raise(ArgumentError, "the stream name #{name.truncate(100).inspect} #{problem}") : name
        end

        private
          def prefix
            prefix = DurableStreams.config.stream_prefix
            prefix = prefix.call if prefix.respond_to?(:call)
            begin
              join(prefix) unless prefix.nil?
            rescue ArgumentError => error
              raise ArgumentError, "config.durable_streams.stream_prefix: #{error.message}"
            end
          end

          def from_record(record)
            if Array(record.id).empty? || Array(record.id).any?(&:blank?)
              raise ArgumentError, "a #{record.class} without an id cannot name a stream: save it first"
            end

            from_global_id(record.to_gid)
          end

          # Ignores the signature of a signed Global ID.
          def from_global_id(gid)
            gid_param_format? ? Base64.urlsafe_encode64(gid.uri.to_s, padding: false) : gid.uri.to_s
          end

          def from_object(object)
            case object
            when Hash
              raise ArgumentError, "a Hash cannot name a stream: write the event's keywords without braces"
            when Proc, Method, Enumerable, true, false
              raise ArgumentError, "a #{object.class} cannot name a stream: use records, strings or symbols"
            end
            if object.respond_to?(:to_key)
              raise ArgumentError, "#{object.class} has no Global ID to name a stream by: include GlobalID::Identification in it"
            end

            part = part_from(object.to_param)
            if part.start_with?("#<") || object.respond_to?(:each_pair)
              raise ArgumentError, "a #{object.class} cannot name a stream: use records, strings or symbols"
            end
            part
          end

          def part_from(value)
            part = value.to_s
            part = part.encoding == Encoding::BINARY ? part.dup.force_encoding(Encoding::UTF_8) : part.encode(Encoding::UTF_8)
            raise ArgumentError, "a stream name is not valid UTF-8: #{part.inspect.truncate(100)}" unless part.valid_encoding?
            raise ArgumentError, "a stream name has a blank part: #{part.inspect}" if part.blank?
            part
          rescue EncodingError
            raise ArgumentError, "a stream name is not valid UTF-8: #{part.inspect.truncate(100)}"
          end

          def gid_param_format?
            DurableStreams.config.stream_name_format == :gid_param
          end
      end

      private
        def stream_name_from(streamables)
          StreamName.from(streamables)
        end
    end
  end
end
