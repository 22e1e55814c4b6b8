# frozen_string_literal: true

# Presence is not stored in the database, only in the stream.
class PresencesController < ApplicationController
  before_action :set_room
  skip_forgery_protection only: :destroy # Sent as the page is left, when only a beacon gets through.

  def create
    announce :upsert, value: { name: current_name, at: Time.current.to_i }
  end

  def destroy
    announce :delete
  end

  private
    def announce(operation, value: nil)
      DurableStreams.broadcast_event_to(@room, :presence, type: "presence", key: params.require(:tab), value: value, operation: operation)
      head :no_content
    rescue DurableStreams::ConnectionError
      head :service_unavailable
    end
end
