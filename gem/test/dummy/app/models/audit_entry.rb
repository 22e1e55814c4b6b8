# frozen_string_literal: true

class AuditEntry < AuditRecord
end
