# frozen_string_literal: true

module DurableStreams
  module Rails
    # The events read from a stream, with the offset to continue from. See
    # DurableStreams::Rails::StreamOperations#read_stream.
    class Events
      include Enumerable

      # The offset at which the next read continues.
      attr_reader :offset

      # The number of messages left out because they cannot be parsed, such as one
      # that a browser appended and that is nested too deeply.
      attr_reader :skipped

      delegate :each, :size, :length, :empty?, :last, :[], to: :@events

      def self.from_pages(pages, start:) # :nodoc:
        new(pages.flat_map(&:events), offset: pages.filter_map(&:offset).last || start,
          closed: pages.last&.closed || false, skipped: pages.sum { |page| page.skipped.to_i })
      end

      def initialize(events, offset:, closed: false, skipped: 0) # :nodoc:
        @events, @offset, @closed, @skipped = events, offset, closed, skipped
      end

      # Whether the stream accepts no more events.
      def closed?
        @closed
      end
    end
  end
end
