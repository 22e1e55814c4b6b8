# frozen_string_literal: true

# Issues new tokens before the old ones expire.
class FeedsController < ApplicationController
  before_action :set_room

  def show
    render json: feed
  end
end
