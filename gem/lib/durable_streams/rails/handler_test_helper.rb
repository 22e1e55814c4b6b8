# frozen_string_literal: true

module DurableStreams
  module Rails
    # Delivers events to handlers without a server. Included in
    # ActiveSupport::TestCase by the engine.
    module HandlerTestHelper
      # Delivers the events to the handler, as read from the stream: in batches, and
      # with string keys. What the handler raises, the test gets.
      #
      #   deliver_stream_events RoomMessagesHandler, [ { type: "message", key: "1", value: { body: "Hello" } } ], stream: [ @room, :messages ]
      #
      # Without events, those that the test has broadcast to the stream are delivered:
      #
      #   deliver_stream_events RoomMessagesHandler, stream: [ @room, :messages ]
      #
      # Raises ArgumentError if the handler does not subscribe to the stream.
      def deliver_stream_events(handler, events = nil, stream:)
        name = StreamName.from(Array.wrap(stream))
        subscription = handler.subscription
        raise ArgumentError, "#{handler.name} subscribes to #{subscription.pattern}, which does not match #{name}" unless subscription.pattern.match?(name)

        events ||= Testing.broadcasts(name)
        JSON.parse(events.to_json).each_slice(subscription.batch_size) { |batch| handler.perform(name, batch) }
      end
    end
  end
end
