# frozen_string_literal: true

# Its columns and associations have names that the gem must not take.
class StreamLog < ApplicationRecord
  belongs_to :stream_change, class_name: "Post", optional: true
end
