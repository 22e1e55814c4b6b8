# frozen_string_literal: true

class PostsController < ActionController::Base
  def show
    post = Post.find(params[:id])
    render json: { url: DurableStreams.signed_stream_url(post), offset: DurableStreams.stream_offset(post) }
  end
end
