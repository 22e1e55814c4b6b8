# frozen_string_literal: true

module DurableStreams
  module Rails
    class HttpTransport
      # A POST that knows how its headers are written, where Net::HTTP takes each
      # name apart and puts it together again in each request, and that leaves in one
      # piece, where Net::HTTP's head wakes a server that still lacks the body.
      class Append < Net::HTTP::Post # :nodoc:
        WRITTEN = %w[
          Accept Accept-Encoding Authorization Connection Content-Length Content-Type Host
          Producer-Epoch Producer-Id Producer-Seq User-Agent
        ].index_by(&:downcase).freeze

        private
          def capitalize(name)
            WRITTEN[name] || super
          end

          def send_request_with_body(socket, version, path, body)
            self.content_length = body.bytesize
            write_header(head = StringIO.new, version, path)
            socket.write(head.string << body)
          end
      end
    end
  end
end
