# frozen_string_literal: true

# Events read from a stream, see DurableStreams::Rails::Feeds#read_stream:
# enumerable, with the offset to read on from.
class DurableStreams::Rails::Events
  include Enumerable

  # Where the next read goes on.
  attr_reader :offset

  delegate :each, :size, :length, :empty?, :last, :[], to: :@events

  def initialize(events, offset:, closed: false)
    @events, @offset, @closed = events, offset, closed
  end

  # Whether the stream takes no more events: these were the last.
  def closed?
    @closed
  end
end
