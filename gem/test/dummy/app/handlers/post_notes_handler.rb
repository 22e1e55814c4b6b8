# frozen_string_literal: true

# Delivered by webhook.
class PostNotesHandler < DurableStreams::Handler
  subscribes_to Post, :notes, lease: 3, batch_size: 2

  def process(event)
    raise "this event fails" if event["type"] == "failing" && ENV["DUMMY_FAILS"]
    ReceivedEvent.record(self, [ event ])
  end
end
