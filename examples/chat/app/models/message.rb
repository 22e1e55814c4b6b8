# frozen_string_literal: true

class Message < ApplicationRecord
  belongs_to :room

  validates :author, :body, presence: true, length: { maximum: 2_000 }

  # Creates, updates and destroys are broadcast to the room's stream of messages.
  streams_to ->(message) { [ message.room, :messages ] }

  # The public attributes: everyone in the room sees these.
  def to_stream_value
    as_json(only: %i[ id author body ])
  end
end
