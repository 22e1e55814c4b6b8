# frozen_string_literal: true

class Animal < ApplicationRecord
  streams
end
