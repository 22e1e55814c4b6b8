# frozen_string_literal: true

# Settings in an environment's own file, such as config/environments/production.rb,
# take precedence.
Rails.application.configure do
  # The port of config/durable_streams.yml. Two apps or worktrees on one machine need
  # different values of DURABLE_STREAMS_PORT.
  port = ENV.fetch("DURABLE_STREAMS_PORT") { Rails.env.test? ? 4438 : 4437 }
  local_url = "http://localhost:#{port}/v1/streams"

  # The address at which browsers reach the server. Signed URLs begin with it.
  config.durable_streams.client_url ||= ENV.fetch("DURABLE_STREAMS_CLIENT_URL", local_url)

  # The address at which this app reaches the server: that of its internal listener,
  # if there is one. Never shown to browsers.
  config.durable_streams.server_url ||= ENV.fetch("DURABLE_STREAMS_SERVER_URL", local_url)

  # The private key that signs tokens. The server verifies them with the public key,
  # auth.verify_key in config/durable_streams.yml. In development and test it is
  # generated for this machine. Elsewhere it is in the environment's credentials, or
  # in a variable.
  local_key = Rails.root.join("config/keys/signing_key.pem")
  if Rails.env.local? && local_key.exist?
    config.durable_streams.signing_key ||= local_key.read
  else
    credentials = Rails.application.credentials
    config.durable_streams.signing_key ||= ENV["DURABLE_STREAMS_SIGNING_KEY"].presence || credentials.dig(:durable_streams, :signing_key)
    # The id of the key. Needed only while you rotate keys.
    config.durable_streams.signing_kid ||= ENV["DURABLE_STREAMS_SIGNING_KID"].presence || credentials.dig(:durable_streams, :signing_kid)
  end

  # A name for this app, the same as auth.issuer in config/durable_streams.yml. It is
  # never connected to. The test environment has its own, so that tests cannot write
  # to the server of another environment.
  config.durable_streams.token_issuer ||= Rails.env.test? ? "test" : ENV.fetch("DURABLE_STREAMS_ISSUER", "http://localhost:3000")

  # The same as auth.audience in config/durable_streams.yml. Defaults to client_url.
  config.durable_streams.token_audience ||= local_url if Rails.env.local?

  # The lifetime of signed URLs. The page requests a new one in time.
  config.durable_streams.signed_stream_url_expires_in = Integer(ENV.fetch("STREAM_URL_SECONDS", 900)).seconds
end
