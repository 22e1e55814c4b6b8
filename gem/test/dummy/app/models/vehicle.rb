# frozen_string_literal: true

class Vehicle < ApplicationRecord
end
