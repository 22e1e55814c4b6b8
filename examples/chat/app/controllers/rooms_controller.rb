# frozen_string_literal: true

class RoomsController < ApplicationController
  before_action :set_room

  # Load the feed's offset before the messages: a message created in between is in
  # both, and a later one is in the stream, so none is missed.
  def show
    @feed     = feed
    @messages = @room.messages.order(:id).to_a
  end
end
