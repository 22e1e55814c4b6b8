# frozen_string_literal: true

module DurableStreams
  module Rails
    # A wake of a subscription: the streams that have events for its handler, and the
    # token that moves its cursors. From a webhook's body, or the response to a claim.
    class Wake
      # A stream with events after +acked_offset+, the last one that was processed.
      Stream = Struct.new(:path, :acked_offset, :tail_offset) do
        def name
          StreamName.restore(path)
        end
      end

      attr_reader :subscription_id, :id, :generation

      # The streams with pending events.
      attr_reader :streams

      attr_reader :token # :nodoc:

      class << self
        # Raises DurableStreams::Webhook::InvalidBody.
        def parse(body) # :nodoc:
          text = body.dup.force_encoding(Encoding::UTF_8)
          wake = JSON.parse(text)
          raise Webhook::InvalidBody, "the body is not a wake" unless wake.is_a?(Hash)
          build(wake, subscription_id: wake["subscription_id"], token: wake["callback_token"])
        rescue JSON::ParserError, EncodingError
          raise Webhook::InvalidBody, "the body is not JSON"
        end

        def build(wake, subscription_id:, token:) # :nodoc:
          id, generation, streams = wake.values_at("wake_id", "generation", "streams")
          unless [ subscription_id, id, token ].all? { |value| value.is_a?(String) && value.present? } && generation.is_a?(Integer) && streams.is_a?(Array)
            raise Webhook::InvalidBody, "the wake lacks subscription_id, wake_id, generation, streams or its token"
          end
          new(subscription_id: subscription_id, id: id, generation: generation, token: token, streams: pending(streams))
        end

        # From the arguments of a job.
        def from_h(hash) # :nodoc:
          hash = hash.symbolize_keys
          new(**hash, streams: hash[:streams].map { |stream| Stream.new(*stream) })
        end

        private
          def pending(streams)
            streams.filter_map do |stream|
              unless stream.is_a?(Hash) && stream.values_at("path", "acked_offset", "tail_offset").all?(String)
                raise Webhook::InvalidBody, "a stream of the wake lacks its path or an offset"
              end
              Stream.new(*stream.values_at("path", "acked_offset", "tail_offset")) if stream["has_pending"]
            end
          end
      end

      def initialize(subscription_id:, id:, generation:, token:, streams:) # :nodoc:
        @subscription_id, @id, @generation, @token, @streams = subscription_id, id, generation, token, streams
      end

      def to_h # :nodoc:
        { "subscription_id" => subscription_id, "id" => id, "generation" => generation, "token" => token, "streams" => streams.map(&:to_a) }
      end

      # Hides the token.
      def inspect
        "#<#{self.class.name} #{subscription_id} generation=#{generation} streams=#{streams.map(&:path)}>"
      end
    end
  end
end
