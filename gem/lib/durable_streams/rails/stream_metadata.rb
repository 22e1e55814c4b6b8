# frozen_string_literal: true

module DurableStreams
  module Rails
    # What the server knows about a stream, see DurableStreams::Rails::Feeds#stream_metadata.
    #
    # * <tt>content_type</tt>: application/json for every stream of this gem
    # * <tt>offset</tt>: the tail, from which a reader sees what comes next
    # * <tt>closed</tt>: whether it takes no more events
    # * <tt>ttl</tt>: seconds of idleness after which it goes, or nil
    # * <tt>expires_at</tt>: when it goes, or nil
    StreamMetadata = Data.define(:content_type, :offset, :closed, :ttl, :expires_at) do
      def initialize(content_type:, offset:, closed: false, ttl: nil, expires_at: nil)
        super
      end

      alias_method :closed?, :closed
    end
  end
end
