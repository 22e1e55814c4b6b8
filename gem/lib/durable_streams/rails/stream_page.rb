# frozen_string_literal: true

require "strscan"

module DurableStreams
  module Rails
    # One page of a stream. +skipped+ counts the messages that cannot be parsed.
    StreamPage = Struct.new(:events, :offset, :closed, :up_to_date, :skipped) do
      # Raises DurableStreams::InvalidStreamContent unless the response is a list of
      # JSON messages.
      def self.from(response, url) # :nodoc:
        type = response["Content-Type"].to_s
        unless type.include?("json")
          raise InvalidStreamContent, "#{url} is a stream of #{type.presence || "no content type"}, not of application/json"
        end

        events, skipped = parse(response.body.to_s, url)
        new(events, response["Stream-Next-Offset"], response["Stream-Closed"].to_s.casecmp?("true"),
          response["Stream-Up-To-Date"].to_s.casecmp?("true"), skipped)
      end

      class << self
        private
          def parse(body, url)
            body = body.dup.force_encoding(Encoding::UTF_8)
            [ body.strip.empty? ? [] : list(JSON.parse(body), url), 0 ]
          rescue JSON::ParserError, EncodingError, ArgumentError
            parse_each(body, url)
          end

          def list(value, url)
            value.is_a?(Array) ? value : raise(InvalidStreamContent, "#{url} is not a JSON array")
          end

          # Parses each message by itself, so that one that is nested too deeply does
          # not hide the others.
          def parse_each(body, url)
            messages = split(body.scrub) || raise(InvalidStreamContent, "#{url} is not a JSON array")
            events = messages.filter_map do |message|
              JSON.parse("[#{message}]")
            rescue JSON::ParserError
              nil
            end
            [ events.map(&:first), messages.size - events.size ]
          end

          # The source text of each element, or nil unless the text is an array.
          def split(text)
            scanner = StringScanner.new(text.strip)
            return unless scanner.skip(/\[/)

            messages, message, depth = [], +"", 0
            until scanner.eos?
              token = scanner.scan(/"(?:[^"\\]|\\.)*"|[^"\[\]{},]+/m) || scanner.getch
              case token
              when "[", "{" then depth += 1
              when "]", "}" then depth -= 1
              end
              if depth.negative? || (depth.zero? && token == ",")
                messages << message unless message.blank?
                return messages if depth.negative? && scanner.eos?
                message = +""
              else
                message << token
              end
            end
          end
      end
    end
  end
end
