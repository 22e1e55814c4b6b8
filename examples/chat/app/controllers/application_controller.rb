# frozen_string_literal: true

class ApplicationController < ActionController::Base
  helper_method :current_name

  private
    def set_room
      @room = Room.find(params[:room_id] || params[:id])
    end

    # There is no sign-in: every visitor gets a name.
    def current_name
      cookies[:name] ||= "Guest #{rand(1_000)}"
    end

    # The URL, token and offset of each stream that the page reads.
    def feed
      %i[ messages presence ].index_with { |stream| DurableStreams.signed_stream_primitives(@room, stream, identity: current_name).to_h }
    end
end
