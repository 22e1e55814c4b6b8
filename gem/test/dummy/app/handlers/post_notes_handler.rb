# frozen_string_literal: true

# Delivered by webhook.
class PostNotesHandler < DurableStreams::Handler
  subscribes_to Post, :notes, lease: 3, batch_size: 2

  def process(event)
    ReceivedEvent.create!(handler: self.class.name, stream: stream, key: event["key"], process: Process.pid)
  end
end
