# frozen_string_literal: true

# New tokens, before the old ones run out.
class FeedsController < ApplicationController
  before_action :set_room

  def show
    render json: feed
  end
end
