# frozen_string_literal: true

class ApplicationController < ActionController::Base
  helper_method :current_name

  private
    def set_room
      @room = Room.find(params[:room_id] || params[:id])
    end

    # Nobody signs in here: whoever comes is given a name.
    def current_name
      cookies[:name] ||= "Guest #{rand(1_000)}"
    end

    # What the page reads by: a signed URL for each stream.
    def feed
      %i[ messages presence ].to_h do |stream|
        url, token = DurableStreams.signed_stream_primitives(@room, stream, identity: current_name)
        [ stream, { url: url, token: token } ]
      end
    end
end
