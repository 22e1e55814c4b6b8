# frozen_string_literal: true

module DurableStreams
  module Rails
    # The reader's side: who may read a stream, where it is, what it holds.
    # Extends DurableStreams.
    module Feeds
      # The offset before all events.
      BEGINNING = "-1"

      # How often a stream that changes under its reader is read from the beginning.
      MAX_READS = 3

      # URL, token and initial offset of a reader. Destructures, and converts to a
      # hash and to JSON.
      #
      #   url, token, offset = DurableStreams.signed_stream_primitives(room, :messages)
      Primitives = Struct.new(:url, :token, :offset) do
        alias_method :to_ary, :to_a

        # Hides the token.
        def inspect
          "#<#{self.class.name} url=#{url.inspect}, token=[FILTERED], offset=#{offset.inspect}>"
        end
        alias_method :to_s, :inspect
      end

      # A URL by which a browser reads the stream until it expires. Creates the
      # stream where there is none.
      #
      #   DurableStreams.signed_stream_url(room, :messages)
      #   # => "http://localhost:4437/v1/streams/gid://app/Room/1/messages?token=eyJ..."
      #
      # ==== Options
      #
      # * <tt>expires_in:</tt> a duration; <tt>config.durable_streams.signed_stream_url_expires_in</tt> by default
      # * <tt>expires_at:</tt> a time, in place of +expires_in+
      # * <tt>permissions:</tt> <tt>:read</tt> (the default), <tt>:write</tt> or both: with <tt>:write</tt> the browser may append
      # * <tt>identity:</tt> who it is given to
      #
      # A server that is down or hangs does not fail the page. It costs one short
      # attempt (<tt>config.durable_streams.page_timeout</tt>), then none for
      # <tt>page_retry_interval</tt> in any thread. The error is reported as handled.
      # The URL is valid nevertheless: the first event creates the stream.
      def signed_stream_url(*streamables, **options)
        name = feed_name_from(streamables)
        token = gatekeeper.client_token(name, **options)
        provision_feed(name)
        "#{url_of_stream(name)}?token=#{token}"
      end

      # URL, token and tail in one call, with the options of signed_stream_url. For
      # clients that send the token in the Authorization header, and for pages: taken
      # before the page loads its records, the offset makes the reader miss nothing.
      #
      #   @feed     = DurableStreams.signed_stream_primitives(@room, :messages)
      #   @messages = @room.messages.order(:id)
      #
      # The offset is nil while the server does not answer, see stream_offset.
      def signed_stream_primitives(*streamables, **options)
        name = feed_name_from(streamables)
        token = gatekeeper.client_token(name, **options)
        Primitives.new(url_of_stream(name), token, tail_of_feed(name))
      end

      # The stream's tail: a reader that starts here sees what comes next and
      # nothing from before. Taken before the page's records are loaded, it lets
      # the page miss nothing. Creates the stream where there is none.
      #
      # Returns nil while the server does not answer, after one short attempt as for
      # signed_stream_url. A page without an offset reads from the beginning ("-1"),
      # or from "now" if it may miss events.
      def stream_offset(*streamables)
        tail_of_feed(feed_name_from(streamables))
      end

      # The stream's DurableStreams::Rails::StreamMetadata, or nil when there is no such stream.
      def stream_metadata(*streamables)
        transport.metadata(feed_name_from(streamables))
      end

      # Reads all events after +offset+, by default from the beginning, and returns
      # them as DurableStreams::Rails::Events. A stream that does not exist is empty.
      #
      #   events = DurableStreams.read_stream(room, :messages)
      #   events.map { |event| event["value"] }
      #   DurableStreams.read_stream(room, :messages, offset: events.offset)
      #
      # Messages that cannot be parsed are left out and counted in +skipped+. Raises
      # DurableStreams::InvalidStreamContent for a stream of another content type, and
      # DurableStreams::StreamGone for an offset whose events were removed or that
      # belongs to an earlier stream of the same name. Read from the beginning then.
      def read_stream(*streamables, offset: nil)
        read_stream_named(feed_name_from(streamables), offset: offset)
      end

      def read_stream_named(name, offset: nil) # :nodoc:
        events, closed, skipped, from, tries = [], false, 0, offset || BEGINNING, tries.to_i + 1
        loop do
          page = transport.read(name, from)
          events.concat(page.events)
          skipped += page.skipped.to_i
          closed = page.closed
          last, from = from, page.offset || from
          break if page.up_to_date || from == last
        end
        Events.new(events, offset: from, closed: closed, skipped: skipped)
      rescue StreamNotFound, StreamGone => error
        gone = error.is_a?(StreamGone)
        raise if gone && offset && offset != BEGINNING
        # Trimmed or replaced between two pages.
        tries < MAX_READS ? retry : raise if gone && from != BEGINNING
        Events.new([], offset: offset || BEGINNING)
      end

      # Closes the stream for good: its readers learn that nothing more comes, and
      # what it holds stays readable. Closing twice is fine. Returns the last offset.
      def close_stream(*streamables)
        name = feed_name_from(streamables)
        ensure_stream_exists(name)
        transport.close(name)
      rescue StreamNotFound
        create_stream(name)
        transport.close(name)
      end

      # Deletes the stream and all that it holds. Returns whether there was one.
      # Jobs created earlier do not recreate it; new broadcasts and signed URLs do.
      def delete_stream(*streamables)
        name = feed_name_from(streamables)
        StreamDeletions.record(name)
        transport.delete(name)
      ensure
        provisioned_streams.delete(name) if name
      end

      private
        def feed_name_from(streamables)
          stream_name_from(present_streamables(streamables) || raise(ArgumentError, "no stream named: the streamables are blank"))
        end

        def url_of_stream(name)
          "#{client_url}/#{StreamName.to_path(name)}"
        end

        def provision_feed(name)
          return if stream_known?(name, StreamProvisioner::MAX_AGE)
          ask_for_page(name) { |transport| create_stream(name, through: transport) }
        end

        def tail_of_feed(name)
          ask_for_page(name) do |transport|
            transport.metadata(name)&.offset&.tap { remember_stream(name) } || create_stream(name, through: transport)
          end
        end

        # Returns nil when the server does not answer.
        def ask_for_page(name, &block)
          transport.briefly(&block)
        rescue ConnectionError, InsufficientStorage => error
          ::Rails.logger&.warn("  DurableStreams #{error.message}")
          ::Rails.error.report(error, handled: true, context: { stream: name }, source: "durable_streams")
          nil
        end
    end
  end
end
