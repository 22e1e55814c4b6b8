# frozen_string_literal: true

module DurableStreams
  module Rails
    # Gives pages access to streams: signed URLs, tokens and offsets. Extends
    # DurableStreams.
    #
    # An unavailable server never fails a page. It costs one short attempt
    # (<tt>config.durable_streams.page_timeout</tt>), then none in any thread for
    # <tt>page_retry_interval</tt>, and the error is reported as handled.
    module SignedStreams
      # A reader's URL, token and initial offset.
      #
      #   url, token, offset = DurableStreams.signed_stream_primitives(room, :messages)
      SignedStream = Struct.new(:url, :token, :offset) do
        alias_method :to_ary, :to_a

        # Hides the token.
        def inspect
          "#<#{self.class.name} url=#{url.inspect}, token=[FILTERED], offset=#{offset.inspect}>"
        end
        alias_method :to_s, :inspect
      end

      # Returns a URL by which a browser can read the stream until it expires.
      # Creates the stream if necessary.
      #
      #   DurableStreams.signed_stream_url(room, :messages)
      #   # => "http://localhost:4437/v1/streams/gid://app/Room/1/messages?token=eyJ..."
      #
      # ==== Options
      #
      # * <tt>expires_in:</tt> a duration; <tt>config.durable_streams.signed_stream_url_expires_in</tt> by default
      # * <tt>expires_at:</tt> a time, instead of +expires_in+
      # * <tt>permissions:</tt> <tt>:read</tt> (the default), <tt>:write</tt> or both; with <tt>:write</tt> the browser may append
      # * <tt>identity:</tt> the reader's name in the server's logs
      #
      # The URL is valid even if the server is unavailable: the first event creates
      # the stream.
      def signed_stream_url(*streamables, **options)
        name = stream_name_from(streamables)
        token = token_signer.client_token(name, **options)
        provision_for_page(name)
        "#{stream_url(name)}?token=#{token}"
      end

      # Returns URL, token and tail in one call, with the options of
      # signed_stream_url. For clients that send the token in the Authorization
      # header, and for pages: a reader that starts at an offset taken before the
      # records are loaded misses nothing.
      #
      #   @stream   = DurableStreams.signed_stream_primitives(@room, :messages)
      #   @messages = @room.messages.order(:id)
      #
      # The offset is nil while the server is unavailable, see stream_offset.
      def signed_stream_primitives(*streamables, **options)
        name = stream_name_from(streamables)
        token = token_signer.client_token(name, **options)
        SignedStream.new(stream_url(name), token, offset_for_page(name))
      end

      # Returns the stream's tail: a reader that starts there sees only later
      # events. Creates the stream if necessary.
      #
      # Returns nil while the server is unavailable. A page without an offset reads
      # from the beginning ("-1"), or from "now" if it may miss events.
      def stream_offset(*streamables)
        offset_for_page(stream_name_from(streamables))
      end

      private
        def stream_url(name)
          "#{client_url}/#{StreamName.to_path(name)}"
        end

        def provision_for_page(name)
          unless provisioner.stream_known?(name, max_age: StreamProvisioner::SIGNED_URL_MAX_AGE)
            try_briefly(name) { |transport| provisioner.create_stream(name, through: transport) }
          end
        end

        def offset_for_page(name)
          try_briefly(name) do |transport|
            transport.metadata(name)&.offset&.tap { provisioner.remember_stream(name) } ||
              provisioner.create_stream(name, through: transport)
          end
        end

        # Returns nil when the server is unavailable.
        def try_briefly(name, &block)
          transport.briefly(&block)
        rescue ConnectionError, InsufficientStorage => error
          ::Rails.logger&.warn("  DurableStreams #{error.message}")
          ::Rails.error.report(error, handled: true, context: { stream: name }, source: "durable_streams")
          nil
        end
    end
  end
end
