# frozen_string_literal: true

require "fileutils"
require "openssl"
require "securerandom"

module DurableStreams
  module Rails
    # The pair of keys behind the tokens: the app signs with the private one, the
    # server checks with the public one.
    class KeyPair
      # This machine's pair, below the app's root.
      LOCAL_SIGNING_KEY = "config/keys/signing_key.pem"
      LOCAL_VERIFY_KEY  = "config/keys/verify_key.pem"

      # The public key that is deployed with the app.
      DEPLOYED_VERIFY_KEY = "config/durable_streams_verify_key.pem"

      # Where those that have an id are deployed, each named for it.
      DEPLOYED_VERIFY_KEYS = "config/durable_streams_verify_keys"

      class << self
        # Whether the app has a server on this machine that checks with this machine's key.
        def local_server?(root)
          File.read(File.join(root, "config/durable_streams.yml")).include?(LOCAL_VERIFY_KEY)
        rescue SystemCallError
          false
        end

        # This machine's private key as PEM. Makes the pair where there is none,
        # and says so; nil where it cannot be written.
        def local(root)
          warn "durable_streams: made #{LOCAL_SIGNING_KEY} and #{LOCAL_VERIFY_KEY} for this machine" if ensure_local(root)
          File.read(File.join(root, LOCAL_SIGNING_KEY))
        rescue SystemCallError => error
          warn "durable_streams: no keys for this machine: #{error.message}"
        end

        # Makes this machine's pair where there is none, or in any case. Returns
        # whether it did. Processes that start together agree on one pair.
        def ensure_local(root, force: false)
          FileUtils.mkdir_p File.join(root, "config/keys")
          File.open(File.join(root, "config/keys")) do |directory|
            directory.flock(File::LOCK_EX)
            signing_key = File.join(root, LOCAL_SIGNING_KEY)
            made = force || !File.exist?(signing_key)
            if made
              new.write_local(root)
            elsif !File.exist?(File.join(root, LOCAL_VERIFY_KEY))
              new(key: SigningKey.parse(File.read(signing_key))).write_local_verify_key(root)
            end
            made
          end
        end
      end

      # A new pair, with an id where keys are to be told apart.
      def initialize(kid: nil, key: OpenSSL::PKey::EC.generate("prime256v1"))
        @key = key
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

      # Writes this machine's pair, the private key readable by its owner only. It
      # comes last: where it is, the pair is complete.
      def write_local(root)
        write_local_verify_key(root)
        write(File.join(root, LOCAL_SIGNING_KEY), private_pem, 0o600)
      end

      def write_local_verify_key(root) # :nodoc:
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

      # Shows no key.
      def inspect
        "#<#{self.class}#{" kid=#{@kid.inspect}" if @kid}>"
      end

      private
        # A new file in the old one's place: its mode is this one, whatever the old
        # one's was, and nobody reads half of it.
        def write(path, content, mode)
          FileUtils.mkdir_p File.dirname(path)
          partial = "#{path}.#{SecureRandom.hex(4)}"
          File.open(partial, File::WRONLY | File::CREAT | File::EXCL, mode) do |file|
            file.chmod(mode)
            file.write(content)
          end
          File.rename(partial, path)
        ensure
          FileUtils.rm_f partial if partial
        end
    end
  end
end
