# frozen_string_literal: true

# Where browsers reach the streams: signed URLs begin with it.
DurableStreams.client_url = ENV.fetch("DURABLE_STREAMS_CLIENT_URL", "http://localhost:4437/v1/streams")

# Where this app sends broadcasts: with an internal listener, its private
# address. Never given to browsers.
DurableStreams.server_url = ENV.fetch("DURABLE_STREAMS_SERVER_URL", "http://localhost:4437/v1/streams")

Rails.application.configure do
  # The private key that signs tokens: from the credentials, and where they
  # have none, the one that bin/rails durable_streams:generate_keys wrote for
  # this machine. The server checks tokens with its public half, auth.verify_key
  # in config/durable_streams.yml.
  local_key = Rails.root.join("config/keys/signing_key.pem")
  config.durable_streams.signing_key = Rails.application.credentials.dig(:durable_streams, :signing_key) ||
    (local_key.read if local_key.exist?)

  # Which of the server's keys it is. Needed only while keys are rotated.
  config.durable_streams.signing_kid = Rails.application.credentials.dig(:durable_streams, :signing_kid)

  # Must be auth.issuer of config/durable_streams.yml. The audience is
  # client_url and must be auth.audience there.
  config.durable_streams.token_issuer = ENV.fetch("DURABLE_STREAMS_ISSUER", "http://localhost:3000")

  # How long a signed URL lives. The page asks for a new one in time.
  config.durable_streams.signed_stream_url_expires_in = Integer(ENV.fetch("STREAM_URL_SECONDS", 900)).seconds
end
