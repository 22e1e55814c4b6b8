# frozen_string_literal: true

class Room < ApplicationRecord
  streams "rooms"
end
