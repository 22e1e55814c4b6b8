# frozen_string_literal: true

module DurableStreams
  module Rails
    # Events read from a stream, see DurableStreams::Rails::Feeds#read_stream:
    # enumerable, with the offset to read on from.
    class Events
      include Enumerable

      # Where the next read goes on.
      attr_reader :offset

      # The number of messages that were left out because they cannot be parsed, for
      # example because a browser appended one that is nested too deeply.
      attr_reader :skipped

      delegate :each, :size, :length, :empty?, :last, :[], to: :@events

      def initialize(events, offset:, closed: false, skipped: 0)
        @events, @offset, @closed, @skipped = events, offset, closed, skipped
      end

      # Whether the stream takes no more events: these were the last.
      def closed?
        @closed
      end
    end
  end
end
