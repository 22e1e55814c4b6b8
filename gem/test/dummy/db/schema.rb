# frozen_string_literal: true

ActiveRecord::Schema[7.2].define(version: 1) do
  create_table :posts, force: true do |t|
    t.string :title
    t.timestamps
  end

  create_table :comments, force: true do |t|
    t.references :post
    t.string :body
    t.timestamps
  end

  create_table :boards, force: true do |t|
    t.string :name
  end

  create_table :rooms, force: true do |t|
    t.string :name
  end

  create_table :accounts, force: true do |t|
    t.string :name, :nickname, :ssn, :password_digest, :auth_token, :token, :api_key, :encrypted_pin, :passwd, :tokenizer
    t.binary :avatar
  end

  create_table :animals, force: true do |t|
    t.string :type
    t.string :name
  end

  create_table :vehicles, force: true do |t|
    t.string :type
  end

  create_table :received_events, force: true do |t|
    t.string :handler, :stream, :key
    t.integer :process
    t.float :started_at, :ended_at
  end

  create_table :stream_logs, force: true do |t|
    t.string :method, :stream_event, :stream_event_to, :stream_event_later_to, :streams_changes
    t.references :stream_change
  end
end

AuditRecord.connection.create_table(:audit_entries, force: true) { |t| t.string :body }

%i[ acme umbrella ].each do |shard|
  TenantRecord.connected_to(shard: shard, role: :writing) do
    TenantRecord.connection.create_table(:notes, force: true) { |t| t.string :body }
  end
end
