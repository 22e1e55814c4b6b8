# frozen_string_literal: true

# Fetched by workers.
class DeskHandler < DurableStreams::Handler
  subscribes_to "desks/*", via: :worker, lease: 3, batch_size: 5

  def process_batch(events)
    ReceivedEvent.record(self, events) { sleep rand * 0.02 } # The work.
  end
end
