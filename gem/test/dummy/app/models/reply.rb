# frozen_string_literal: true

class Reply < ApplicationRecord
  self.table_name = "comments"

  belongs_to :post
  streams_to ->(reply) { [ reply.post, :replies ] }

  def to_stream_value
    { id: id, text: body }
  end
end
