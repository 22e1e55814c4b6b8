# frozen_string_literal: true

class Note < TenantRecord
  streams
end
