# frozen_string_literal: true

class CommentsController < ActionController::Base
  def create
    comment = Post.find(params[:post_id]).comments.create!(body: params.require(:body))
    render json: { id: comment.id, txid: comment.stream_txid }
  end
end
