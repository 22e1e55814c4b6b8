# frozen_string_literal: true

class RoomsController < ApplicationController
  before_action :set_room

  # The feed with its offset first, the messages after it: what is created in
  # between is in both, and what is created later is in the stream, so nothing is
  # missed.
  def show
    @feed     = feed
    @messages = @room.messages.order(:id).to_a
  end
end
