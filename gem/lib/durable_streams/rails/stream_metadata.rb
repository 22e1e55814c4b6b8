# frozen_string_literal: true

module DurableStreams
  module Rails
    # The state of a stream, see DurableStreams::Rails::StreamOperations#stream_metadata.
    #
    # * <tt>content_type</tt>: application/json for all streams of this gem
    # * <tt>offset</tt>: the tail
    # * <tt>closed</tt>: whether the stream accepts no more events
    # * <tt>ttl</tt>: seconds without access after which the stream expires, or nil
    # * <tt>expires_at</tt>: the time at which it expires, or nil
    StreamMetadata = Data.define(:content_type, :offset, :closed, :ttl, :expires_at) do
      def initialize(content_type:, offset:, closed: false, ttl: nil, expires_at: nil)
        super
      end

      alias_method :closed?, :closed
    end
  end
end
