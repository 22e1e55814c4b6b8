# frozen_string_literal: true

require "fileutils"
require "openssl"
require "securerandom"

module DurableStreams
  module Rails
    # A pair of keys for tokens: the app signs with the private key, and the server
    # verifies with the public key.
    class KeyPair
      # This machine's pair, relative to the app's root.
      LOCAL_SIGNING_KEY = "config/keys/signing_key.pem"
      LOCAL_VERIFY_KEY  = "config/keys/verify_key.pem"

      # The public key that is deployed with the app.
      DEPLOYED_VERIFY_KEY = "config/durable_streams_verify_key.pem"

      # The directory of the public keys that have an id, each in a file named for it.
      DEPLOYED_VERIFY_KEYS = "config/durable_streams_verify_keys"

      class << self
        def local_server?(root)
          File.read(File.join(root, "config/durable_streams.yml")).include?(LOCAL_VERIFY_KEY)
        rescue SystemCallError
          false
        end

        # Returns this machine's private key as PEM, generating the pair if necessary.
        # Warns and returns nil if it cannot be written.
        def local(root)
          warn "durable_streams: generated #{LOCAL_SIGNING_KEY} and #{LOCAL_VERIFY_KEY} for this machine" if ensure_local(root)
          File.read(File.join(root, LOCAL_SIGNING_KEY))
        rescue SystemCallError => error
          warn "durable_streams: could not generate keys for this machine: #{error.message}"
        end

        # Generates this machine's pair if there is none, or if +force+ is set, and
        # returns whether it did. Processes that start together agree on one pair.
        def ensure_local(root, force: false)
          FileUtils.mkdir_p File.join(root, "config/keys")
          File.open(File.join(root, "config/keys")) do |directory|
            directory.flock(File::LOCK_EX)
            signing_key = File.join(root, LOCAL_SIGNING_KEY)
            generate = force || !File.exist?(signing_key)
            if generate
              new.write_local(root)
            elsif !File.exist?(File.join(root, LOCAL_VERIFY_KEY))
              new(key: SigningKey.parse(File.read(signing_key))).write_local_verify_key(root)
            end
            generate
          end
        end
      end

      def initialize(kid: nil, key: OpenSSL::PKey::EC.generate("prime256v1"))
        @key = key
        @kid = kid
      end

      def private_pem
        @key.private_to_pem
      end

      def public_pem
        @key.public_to_pem
      end

      # Writes this machine's pair. The private key, readable only by its owner, comes
      # last: if it exists, the pair is complete.
      def write_local(root)
        write_local_verify_key(root)
        write(File.join(root, LOCAL_SIGNING_KEY), private_pem, 0o600)
      end

      def write_local_verify_key(root) # :nodoc:
        write(File.join(root, LOCAL_VERIFY_KEY), public_pem, 0o644)
      end

      def deployed_path
        @kid ? File.join(DEPLOYED_VERIFY_KEYS, "#{@kid}.pem") : DEPLOYED_VERIFY_KEY
      end

      def write_deployed(root)
        write(File.join(root, deployed_path), public_pem, 0o644)
      end

      def credentials
        [ "durable_streams:", ("  signing_kid: #{@kid.to_json}" if @kid), "  signing_key: |", private_pem.indent(4) ].compact.join("\n")
      end

      def inspect
        "#<#{self.class}#{" kid=#{@kid.inspect}" if @kid}>"
      end

      private
        # Replaces the file, so that its mode is certain and no reader sees half of it.
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
