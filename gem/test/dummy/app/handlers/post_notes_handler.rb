# frozen_string_literal: true

# Delivered by webhook.
class PostNotesHandler < DurableStreams::Handler
  subscribes_to Post, :notes, lease: 3, batch_size: 2

  def process(event)
    if event["type"] == "failing" && ENV["DUMMY_FAILS"]
      ReceivedEvent.create!(handler: "failed", stream: stream, key: event["key"])
      raise "this event fails"
    end
    ReceivedEvent.record(self, [ event ])
  end
end
