# frozen_string_literal: true

# Settings of an environment's own file, such as config/environments/production.rb,
# stays as it is.
Rails.application.configure do
  # The server of this environment, as config/durable_streams.yml has it. Two apps
  # or worktrees on one machine need only different DURABLE_STREAMS_PORTs.
  port = ENV.fetch("DURABLE_STREAMS_PORT") { Rails.env.test? ? 4438 : 4437 }
  local_url = "http://localhost:#{port}/v1/streams"

  # Where browsers reach the streams: signed URLs begin with it.
  config.durable_streams.client_url ||= ENV.fetch("DURABLE_STREAMS_CLIENT_URL", local_url)

  # Where this app sends broadcasts: with an internal listener, its private
  # address. Never given to browsers.
  config.durable_streams.server_url ||= ENV.fetch("DURABLE_STREAMS_SERVER_URL", local_url)

  # The private key that signs tokens; the server checks them with its public
  # half, auth.verify_key in config/durable_streams.yml. In development and test
  # it is this machine's own, which is made where it is missing. Elsewhere it is
  # in the credentials of that environment, or in a variable.
  local_key = Rails.root.join("config/keys/signing_key.pem")
  if Rails.env.local? && local_key.exist?
    config.durable_streams.signing_key ||= local_key.read
  else
    credentials = Rails.application.credentials
    config.durable_streams.signing_key ||= ENV["DURABLE_STREAMS_SIGNING_KEY"].presence || credentials.dig(:durable_streams, :signing_key)
    # Which of the server's keys it is. Needed only while keys are rotated.
    config.durable_streams.signing_kid ||= ENV["DURABLE_STREAMS_SIGNING_KID"].presence || credentials.dig(:durable_streams, :signing_kid)
  end

  # A name for this app, auth.issuer of config/durable_streams.yml. Nobody connects
  # to it. The test environment has its own, so that a test can never write to the
  # server of another environment.
  config.durable_streams.token_issuer ||= Rails.env.test? ? "test" : ENV.fetch("DURABLE_STREAMS_ISSUER", "http://localhost:3000")

  # auth.audience of config/durable_streams.yml. Where this is nil, it is client_url.
  config.durable_streams.token_audience ||= local_url if Rails.env.local?

  # How long a signed URL lives. The page asks for a new one in time.
  config.durable_streams.signed_stream_url_expires_in = Integer(ENV.fetch("STREAM_URL_SECONDS", 900)).seconds
end
