# frozen_string_literal: true

DurableStreams.client_url = "http://localhost:4437/v1/streams"
DurableStreams.server_url = "http://127.0.0.1:4437/v1/streams"

Rails.application.config.durable_streams.signing_key  = Rails.root.join("config/signing_key.pem").read
Rails.application.config.durable_streams.token_issuer = "https://dummy.example.com"
