# frozen_string_literal: true

# Fetched by workers.
class DeskHandler < DurableStreams::Handler
  subscribes_to "desks/*", via: :worker, lease: 3, batch_size: 5

  def process(event)
    ReceivedEvent.create!(handler: self.class.name, stream: stream, key: event["key"], process: Process.pid)
  end
end
