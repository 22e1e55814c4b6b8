# frozen_string_literal: true

class Account < ApplicationRecord
  encrypts :ssn
  streams

  self.filter_attributes += [ :nickname ]
end
