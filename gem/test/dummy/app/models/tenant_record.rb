# frozen_string_literal: true

# Of a tenant that has a database of its own.
class TenantRecord < ApplicationRecord
  self.abstract_class = true

  connects_to shards: { acme: { writing: :acme, reading: :acme }, umbrella: { writing: :umbrella, reading: :umbrella } }
end
