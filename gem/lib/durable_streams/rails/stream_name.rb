# frozen_string_literal: true

# Names streams. Records are named by their Global ID, strings and symbols by
# themselves, and parts are joined by slashes:
#
#   stream_name_from(room)               # => "gid://app/Room/1"
#   stream_name_from([ room, :messages ])  # => "gid://app/Room/1/messages"
#   stream_name_from("boards")           # => "boards"
#
# With <tt>config.durable_streams.stream_name_format = :gid_param</tt> records
# are named by the Base64 form of the Global ID, as in Turbo.
#
# Strings are taken as they are: one that holds a slash can name another
# stream, so do not build names from what users type.
module DurableStreams::Rails::StreamName
  # The longest name that the server takes, in bytes.
  MAX_BYTES = 1024

  # The path of a stream below the server's route: slashes and colons stay
  # readable, everything else that is not plain is percent-encoded.
  def self.to_path(name)
    name.b.gsub(/[^A-Za-z0-9\-._~\/:]/n) { |byte| format("%%%02X", byte.ord) }
  end

  private
    def stream_name_from(streamables)
      verify_stream_name(join_streamables(streamables))
    end

    def join_streamables(streamables)
      if streamables.is_a?(Array)
        streamables.map { |streamable| join_streamables(streamable) }.join("/")
      elsif streamables.respond_to?(:to_gid)
        gid_param_names? ? streamables.to_gid_param : streamables.to_gid.to_s
      elsif streamables.respond_to?(:to_key)
        raise ArgumentError, "#{streamables.class} has no Global ID to name a stream by: include GlobalID::Identification in it"
      else
        streamables.to_param.to_s
      end
    end

    def gid_param_names?
      DurableStreams.config.stream_name_format == :gid_param
    end

    # The server refuses these too; here the caller is still on the stack.
    def verify_stream_name(name)
      problem =
        if name.empty? then "is empty"
        elsif name.bytesize > MAX_BYTES then "is longer than #{MAX_BYTES} bytes"
        elsif name.match?(/[[:cntrl:]]/) then "has a control character"
        elsif name.match?(/(\A|\/)\.{1,2}(\/|\z)/) then "has a . or .. segment"
        elsif name.match?(/\A__ds(\/|\z)/) then "is under __ds, which is reserved"
        end

      problem ? raise(ArgumentError, "the stream name #{name.truncate(100).inspect} #{problem}") : name
    end
end
