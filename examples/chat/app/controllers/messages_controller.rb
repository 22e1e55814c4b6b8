# frozen_string_literal: true

class MessagesController < ApplicationController
  before_action :set_room

  def create
    @room.messages.create!(author: current_name, body: params.require(:body))
    head :created
  end

  def destroy
    @room.messages.find(params[:id]).destroy!
    head :no_content
  end
end
