# frozen_string_literal: true

require "concurrent/set"

# Creates streams before they are first used, so that an app never has to
# think about it: one PUT for each name in each process.
module DurableStreams::Rails::StreamProvisioner
  # After so many names the process forgets them all and starts over, so that
  # an app with millions of streams does not keep them in memory.
  MAX_REMEMBERED = 100_000

  # Creates the stream unless this process already knows that it exists.
  def ensure_stream_exists(name)
    create_stream(name) unless provisioned_streams.include?(name)
  end

  # Forgets which streams exist.
  def forget_streams # :nodoc:
    @provisioned_streams = Concurrent::Set.new
  end

  private
    def create_stream(name)
      offset = transport.create(name)
      provisioned_streams.clear if provisioned_streams.size >= MAX_REMEMBERED
      provisioned_streams << name
      offset
    end

    # Appends, and where the server has lost the stream, creates it and appends again.
    def append_to_stream(name, events, producer: nil)
      ensure_stream_exists(name)
      transport.append(name, events, producer: producer)
    rescue DurableStreams::StreamNotFound
      create_stream(name)
      transport.append(name, events)
    end

    def provisioned_streams
      @provisioned_streams || forget_streams
    end
end
