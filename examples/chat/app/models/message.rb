# frozen_string_literal: true

class Message < ApplicationRecord
  belongs_to :room

  validates :author, :body, presence: true, length: { maximum: 2_000 }

  # Creates, updates and destroys go to the room's stream of messages.
  streams_to ->(message) { [ message.room, :messages ] }

  # Everyone in the room sees this, and only this.
  def to_stream_value
    as_json(only: %i[ id author body ])
  end
end
