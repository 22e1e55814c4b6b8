# frozen_string_literal: true

require "openssl"

module DurableStreams
  module Rails
    # Parses <tt>config.durable_streams.signing_key</tt>: a PEM, also in the forms that
    # environment variables and secret stores make of it (on one line, with
    # <tt>\n</tt> as two characters, in quotes, or in Base64). A callable is called
    # when the first token is signed.
    module SigningKey
      SETTING = "config.durable_streams.signing_key"

      # The private key's block. EC PARAMETERS may precede it.
      BLOCK = /-----BEGIN ([A-Z ]*PRIVATE KEY)-----(.*?)-----END \1-----/m
      private_constant :SETTING, :BLOCK

      class << self
        # Returns an OpenSSL::PKey::EC. Raises DurableStreams::ConfigurationError; its
        # message reveals nothing of the key.
        def parse(value)
          value = value.call if value.respond_to?(:call)
          value = value.b if value.is_a?(String)
          refuse missing if value.blank?
          key = value.is_a?(OpenSSL::PKey::PKey) ? value : read(value)
          refuse "is a public key, not a private EC key on P-256" if key.is_a?(OpenSSL::PKey::EC) && !key.private?
          refuse "is not a private EC key on P-256" unless key.is_a?(OpenSSL::PKey::EC) && key.group.curve_name == "prime256v1"
          key
        end

        private
          def read(value)
            refuse "is a #{value.class}: set it to the PEM itself, such as Rails.root.join(\"…\").read" unless value.is_a?(String)
            text = unquote(value)
            text = decode(text) || text unless text.include?("-----BEGIN")
            # With an empty passphrase, OpenSSL does not prompt for one on the terminal.
            OpenSSL::PKey.read(der(text), "")
          rescue OpenSSL::PKey::PKeyError
            refuse "could not be parsed as a PEM key"
          end

          def der(text)
            refuse "is encrypted. Remove the passphrase: openssl pkey -in KEY -out PLAIN" if text.include?("ENCRYPTED")
            refuse "is a public key, not a private EC key on P-256" if text.include?("BEGIN PUBLIC KEY")
            block = text[BLOCK, 2]
            refuse "is not a complete PEM key: it has no END line" if block.nil? && text.include?("-----BEGIN")
            block ? decode(block).to_s : text
          end

          def unquote(value)
            value.gsub(/\\r|\\n|\r/, "\n").strip.delete_prefix('"').delete_suffix('"').delete_prefix("'").delete_suffix("'")
          end

          def decode(text)
            text.gsub(/\s/, "").tr("-_", "+/").then { |base64| base64.ljust((base64.size + 3) / 4 * 4, "=").unpack1("m0") }
          rescue ArgumentError
            nil
          end

          def refuse(reason)
            raise ConfigurationError, "#{SETTING} #{reason}"
          end

          def missing
            <<~TEXT.squish
              is not set. In development, bin/rails durable_streams:generate_keys writes a pair that the initializer finds.
              In production, put the private key into that environment's credentials as durable_streams.signing_key, or into
              DURABLE_STREAMS_SIGNING_KEY.
            TEXT
          end
      end
    end
  end
end
