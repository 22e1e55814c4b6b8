# frozen_string_literal: true

DurableStreams.client_url = "http://localhost:4437/v1/streams"
DurableStreams.server_url = "http://127.0.0.1:4437/v1/streams"

Rails.application.config.durable_streams.signing_key  = OpenSSL::PKey::EC.generate("prime256v1")
Rails.application.config.durable_streams.token_issuer = "https://dummy.example.com"
