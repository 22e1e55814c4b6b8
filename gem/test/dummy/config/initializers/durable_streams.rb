# frozen_string_literal: true

DurableStreams.client_url = ENV.fetch("DUMMY_CLIENT_URL", "http://localhost:4437/v1/streams")
DurableStreams.server_url = ENV.fetch("DUMMY_SERVER_URL", "http://127.0.0.1:4437/v1/streams")

Rails.application.config.durable_streams.signing_key  = ENV["DUMMY_SIGNING_KEY"] || OpenSSL::PKey::EC.generate("prime256v1")
Rails.application.config.durable_streams.page_retry_interval = Float(ENV.fetch("DUMMY_PAGE_RETRY_INTERVAL", 5))
Rails.application.config.durable_streams.webhook_url = ENV["DUMMY_WEBHOOK_URL"]
Rails.application.config.durable_streams.token_issuer = "https://dummy.example.com"
