# frozen_string_literal: true

require "securerandom"

module DurableStreams
  module Rails
    # Builds and validates State Protocol events.
    module StateEvent # :nodoc:
      OPERATIONS = %w[ insert update upsert delete ].freeze

      # The deepest nesting of a value. By default the server's limits.max_json_depth is
      # 64, and the event itself is one level.
      MAX_DEPTH = 63

      class << self
        def build(event)
          event = event.transform_keys(&:to_s)
          refuse_misplaced(event)
          headers = event["headers"] = build_headers(event["headers"])
          event.delete("value") if event["value"].nil? && headers["operation"] == "delete"
          event.to_h do |name, content|
            case name
            when "type", "key" then [ name, identifier(name, content) ]
            else [ name, RecordValue.json_of(content) ]
            end
          end
        end

        def operation(operation)
          operation.to_s.tap do |name|
            raise ArgumentError, "operation: must be #{OPERATIONS.to_sentence(last_word_connector: " or ")}, not #{operation.inspect}" unless OPERATIONS.include?(name)
          end
        end

        # Refuses objects whose to_s is not an identifier, such as "#<Comment:0x…>".
        def identifier(name, value)
          string = value.to_s
          raise ArgumentError, "#{name}: must not be blank" if string.blank?
          if [ Enumerable, Proc, TrueClass, FalseClass ].any? { |type| type === value } || string.start_with?("#<")
            raise ArgumentError, "#{name}: must be a string or a number, not a #{value.class}"
          end
          string
        end

        def headers(headers)
          headers = {} if headers.nil?
          raise ArgumentError, "headers: must be a Hash, not #{headers.inspect}" unless headers.respond_to?(:to_h) && headers.respond_to?(:each_pair)
          headers.to_h.transform_keys(&:to_s)
        end

        def generate(events)
          JSON.generate(events, max_nesting: MAX_DEPTH + 2) # The event, and the list around it.
        end

        def invalid(event, error)
          path, reason = first_invalid(event, [])
          where = path ? "#{path.join(".")} #{reason}" : error.message.truncate(200)
          InvalidEvent.new("the event #{event["type"]}/#{event["key"]} cannot be sent as JSON: #{where}")
        end

        private
          def build_headers(headers)
            headers(headers).tap do |built|
              built["operation"] = operation(built["operation"]) if built.key?("operation")
              built["txid"] = built["txid"].blank? ? SecureRandom.uuid : identifier("txid", built["txid"])
            end
          end

          def refuse_misplaced(event)
            if (name = event.keys.find { |key| %w[ operation txid ].include?(key) })
              raise ArgumentError, "#{name}: belongs in headers:; or use broadcast_event_to"
            end
          end

          def first_invalid(value, path)
            return [ path.first(3), "is nested too deeply" ] if path.size > MAX_DEPTH && value.is_a?(Enumerable)

            case value
            when String then [ path, "is not valid UTF-8" ] unless valid_text?(value)
            when Hash then value.lazy.filter_map { |key, item| first_invalid(item, [ *path, key ]) }.first
            when Array then value.each_with_index.lazy.filter_map { |item, at| first_invalid(item, [ *path, at ]) }.first
            end
          end

          def valid_text?(text)
            text.encoding == Encoding::BINARY ? text.dup.force_encoding(Encoding::UTF_8).valid_encoding? : text.valid_encoding?
          end
      end
    end
  end
end
