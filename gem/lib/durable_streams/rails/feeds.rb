# frozen_string_literal: true

# The reader's side: who may read a stream, where it is, what it holds.
# Extends DurableStreams.
module DurableStreams::Rails::Feeds
  # A signed URL in its two parts; destructures, and knows its hash.
  #
  #   url, token = DurableStreams.signed_stream_primitives(room, :messages)
  Primitives = Struct.new(:url, :token) do
    alias_method :to_ary, :to_a
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
  # * <tt>permissions:</tt> <tt>:read</tt> (the default), <tt>:write</tt> or both: with <tt>:write</tt> the browser may append
  # * <tt>identity:</tt> who it is given to
  #
  # A server that cannot be reached does not take the page down with it: the
  # error is reported as handled and the URL given out, for the stream is
  # created with its first event.
  def signed_stream_url(*streamables, **options)
    url, token = signed_stream_primitives(*streamables, **options)
    "#{url}?token=#{token}"
  end

  # The same as signed_stream_url with URL and token apart, for clients that
  # send the token in the Authorization header.
  def signed_stream_primitives(*streamables, expires_in: nil, permissions: :read, identity: nil)
    name = feed_name_from(streamables)
    token = gatekeeper.client_token(name, permissions: permissions, expires_in: expires_in, identity: identity)
    provision_feed(name)
    Primitives.new("#{client_url}/#{DurableStreams::Rails::StreamName.to_path(name)}", token)
  end

  # The stream's tail: a reader that starts here sees what comes next and
  # nothing from before. Taken before the page's records are loaded, it lets
  # the page miss nothing. Creates the stream where there is none.
  def stream_offset(*streamables)
    name = feed_name_from(streamables)
    transport.metadata(name)&.offset || create_stream(name)
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
  def read_stream(*streamables, offset: "-1")
    name = feed_name_from(streamables)
    events, closed = [], false
    loop do
      page = transport.read(name, offset)
      events.concat(page.events)
      offset, last = page.offset, offset
      closed = page.closed
      break if page.up_to_date || page.offset == last
    end
    DurableStreams::Rails::Events.new(events, offset: offset, closed: closed)
  rescue DurableStreams::StreamNotFound
    DurableStreams::Rails::Events.new([], offset: offset)
  end

  # Closes the stream for good: its readers learn that nothing more comes, and
  # what it holds stays readable. Closing twice is fine. Returns the last offset.
  def close_stream(*streamables)
    name = feed_name_from(streamables)
    ensure_stream_exists(name)
    transport.close(name)
  rescue DurableStreams::StreamNotFound
    create_stream(name)
    transport.close(name)
  end

  # Deletes the stream and all that it holds. Returns whether there was one.
  def delete_stream(*streamables)
    name = feed_name_from(streamables)
    transport.delete(name)
  ensure
    provisioned_streams.delete(name)
  end

  private
    def feed_name_from(streamables)
      stream_name_from(present_streamables(streamables) || raise(ArgumentError, "no stream named: the streamables are blank"))
    end

    def provision_feed(name)
      ensure_stream_exists(name)
    rescue DurableStreams::ConnectionError => error
      ::Rails.logger&.warn("  DurableStreams #{error.message}")
      ::Rails.error.report(error, handled: true, context: { stream: name }, source: "durable_streams")
    end
end
