# frozen_string_literal: true

# What the handlers have processed.
class ReceivedEvent < ApplicationRecord
end
