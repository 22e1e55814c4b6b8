# frozen_string_literal: true

class PostsController < ActionController::Base
  def show
    render json: DurableStreams.signed_stream_primitives(Post.find(params[:id]))
  end
end
