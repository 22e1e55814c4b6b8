# frozen_string_literal: true

module DurableStreams
  module Rails
    # Inspects, reads, closes and deletes streams. Extends DurableStreams.
    module StreamOperations
      # The offset before the first event.
      BEGINNING = "-1"

      # Attempts to read a stream that is trimmed or replaced meanwhile.
      MAX_READ_ATTEMPTS = 3

      # Returns the stream's DurableStreams::Rails::StreamMetadata, or nil if there
      # is no such stream.
      def stream_metadata(*streamables)
        transport.metadata(stream_name_from(streamables))
      end

      # Reads all events after +offset+, from the beginning by default, and returns
      # them as DurableStreams::Rails::Events. A stream that does not exist is empty.
      #
      #   events = DurableStreams.read_stream(room, :messages)
      #   events.map { |event| event["value"] }
      #   DurableStreams.read_stream(room, :messages, offset: events.offset)
      #
      # Messages that cannot be parsed are left out and counted in +skipped+. Raises
      # DurableStreams::InvalidStreamContent if the stream has another content type.
      # Raises DurableStreams::StreamGone if the events after the offset have been
      # removed, or if it belongs to an earlier stream of the same name; read from
      # the beginning then.
      def read_stream(*streamables, offset: nil)
        read_stream_named(stream_name_from(streamables), offset: offset)
      end

      def read_stream_named(name, offset: nil) # :nodoc:
        start, attempts = offset || BEGINNING, 0
        begin
          attempts += 1
          pages = []
          each_page(name, start) { |page| pages << page }
        rescue StreamNotFound
          pages = []
        rescue StreamGone
          raise unless start == BEGINNING
          # Trimmed or replaced between two pages.
          attempts < MAX_READ_ATTEMPTS ? retry : raise if pages.any?
        end
        Events.from_pages(pages, start: start)
      end

      # Closes the stream permanently: readers learn that no more events follow, and
      # its events stay readable. Idempotent. Returns the last offset.
      def close_stream(*streamables)
        name = stream_name_from(streamables)
        ensure_stream_exists(name)
        transport.close(name)
      rescue StreamNotFound
        provisioner.create_stream(name)
        transport.close(name)
      end

      # Deletes the stream and its events. Returns whether there was one. Jobs that
      # are already enqueued do not create it again; new broadcasts and signed URLs do.
      def delete_stream(*streamables)
        name = stream_name_from(streamables)
        StreamDeletions.record(name)
        transport.delete(name)
      ensure
        provisioner.forget_stream(name) if name
      end

      private
        def each_page(name, offset)
          loop do
            page = transport.read(name, offset)
            yield page
            break if page.up_to_date || page.offset.nil? || page.offset == offset
            offset = page.offset
          end
        end
    end
  end
end
