# frozen_string_literal: true

require "fileutils"
require "openssl"

# The pair of keys behind the tokens: the app signs with the private one, the
# server checks with the public one.
class DurableStreams::Rails::KeyPair
  # This machine's pair, below the app's root.
  LOCAL_SIGNING_KEY = "config/keys/signing_key.pem"
  LOCAL_VERIFY_KEY  = "config/keys/verify_key.pem"

  # The public key that is deployed with the app.
  DEPLOYED_VERIFY_KEY = "config/durable_streams_verify_key.pem"

  # Where those that have an id are deployed, each named for it.
  DEPLOYED_VERIFY_KEYS = "config/durable_streams_verify_keys"

  # A new pair, with an id where keys are to be told apart.
  def initialize(kid: nil)
    @key = OpenSSL::PKey::EC.generate("prime256v1")
    @kid = kid
  end

  # The private key as PEM.
  def private_pem
    @key.private_to_pem
  end

  # The public key as PEM.
  def public_pem
    @key.public_to_pem
  end

  # Writes this machine's pair, the private key readable by its owner only.
  def write_local(root)
    write(File.join(root, LOCAL_SIGNING_KEY), private_pem, 0o600)
    write(File.join(root, LOCAL_VERIFY_KEY), public_pem, 0o644)
  end

  # The file of the public key that is deployed with the app.
  def deployed_path
    @kid ? File.join(DEPLOYED_VERIFY_KEYS, "#{@kid}.pem") : DEPLOYED_VERIFY_KEY
  end

  # Writes the public key that is deployed with the app.
  def write_deployed(root)
    write(File.join(root, deployed_path), public_pem, 0o644)
  end

  # What belongs into the credentials.
  def credentials
    [ "durable_streams:", ("  signing_kid: #{@kid.to_json}" if @kid), "  signing_key: |", private_pem.indent(4) ].compact.join("\n")
  end

  private
    def write(path, content, mode)
      FileUtils.mkdir_p File.dirname(path)
      File.open(path, File::WRONLY | File::CREAT | File::TRUNC, mode) { |file| file.write(content) }
    end
end
