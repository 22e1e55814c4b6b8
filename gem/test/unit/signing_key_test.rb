# frozen_string_literal: true

require "test_helper"
require "open3"
require "pp"

class SigningKeyTest < ActiveSupport::TestCase
  KEY = OpenSSL::PKey::EC.generate("prime256v1")
  PEM = KEY.private_to_pem
  SEC1 = KEY.to_pem
  PARAMETERS = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"

  FORMS = {
    "a PEM file" => PEM,
    "SEC1" => SEC1,
    "SEC1 after its parameters" => PARAMETERS + SEC1,
    "\\n as two characters" => PEM.gsub("\n", "\\n"),
    "\\r\\n as four characters" => PEM.gsub("\n", "\\r\\n"),
    "in quotes" => "\"#{PEM}\"",
    "in quotes, with \\n" => "'#{PEM.gsub("\n", "\\n")}'\n",
    "with CRLF" => PEM.gsub("\n", "\r\n"),
    "indented" => PEM.indent(4),
    "on one line, with spaces" => PEM.tr("\n", " "),
    "on one line, with nothing" => PEM.delete("\n"),
    "Base64 of the PEM" => [ PEM ].pack("m0"),
    "Base64 of the PEM, wrapped" => [ PEM ].pack("m"),
    "Base64 of the DER" => [ KEY.private_to_der ].pack("m0"),
    "URL-safe Base64 without padding" => Base64.urlsafe_encode64(PEM, padding: false),
    "a key" => KEY
  }

  REFUSED = {
    "nothing" => [ nil, "is not set" ],
    "blank" => [ " \n", "is not set" ],
    "encrypted" => [ KEY.private_to_pem("aes-256-cbc", "secret"), "is encrypted" ],
    "encrypted, on one line" => [ KEY.private_to_pem("aes-256-cbc", "secret").gsub("\n", "\\n"), "is encrypted" ],
    "encrypted in the old way" => [ KEY.to_pem(OpenSSL::Cipher.new("aes-256-cbc"), "secret"), "is encrypted" ],
    "encrypted DER" => [ [ KEY.private_to_der("aes-256-cbc", "secret") ].pack("m0"), "could not be parsed" ],
    "public" => [ KEY.public_to_pem, "is a public key" ],
    "a public key" => [ OpenSSL::PKey.read(KEY.public_to_pem), "is a public key" ],
    "RSA" => [ OpenSSL::PKey::RSA.new(2048).private_to_pem, "is not a private EC key on P-256" ],
    "another curve" => [ OpenSSL::PKey::EC.generate("secp384r1").private_to_pem, "is not a private EC key on P-256" ],
    "cut off" => [ PEM.lines.first(2).join, "no END line" ],
    "a path" => [ "config/keys/signing_key.pem", "could not be parsed" ],
    "a Pathname" => [ Pathname("config/keys/signing_key.pem"), "is a Pathname" ],
    "not text" => [ "\xff\xfe", "could not be parsed" ],
    "an empty block" => [ "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----", "could not be parsed" ]
  }

  FORMS.each do |name, form|
    test("#{name} is read") { assert_equal KEY.private_to_der, parse(form).private_to_der }
  end

  REFUSED.each do |name, (value, reason)|
    test "#{name} is refused" do
      error = assert_raises(DurableStreams::ConfigurationError) { parse(value) }
      assert_match(/\Aconfig\.durable_streams\.signing_key .*#{reason}/, error.message)
      assert_no_match KEY.private_to_pem.lines.second.first(20), error.message
    end
  end

  test "an encrypted key causes no prompt on the terminal" do
    code = <<~RUBY
      require "rails"
      require "durable_streams-rails"
      DurableStreams::Rails::SigningKey.parse(ARGV.first) rescue puts $!.message
    RUBY
    [ REFUSED["encrypted"], REFUSED["encrypted DER"] ].each do |value, reason|
      output, = Open3.capture2e("timeout", "20", "ruby", "-I", File.expand_path("../../lib", __dir__), "-e", code, "--", value, stdin_data: "secret\n")
      assert_match reason, output
      assert_no_match(/pass ?phrase: ?\z|Enter/, output)
    end
  end

  test "inspecting reveals no key" do
    secret = PEM.lines.second.strip
    settings = DurableStreams::Rails::Settings.new.merge!(signing_key: PEM)
    pair = DurableStreams::Rails::KeyPair.new(kid: "1", key: KEY)
    [ settings.inspect, settings.to_s, settings.pretty_inspect, "#{settings}", pair.inspect ].each { |shown| assert_no_match secret, shown }
    assert_match "[FILTERED]", settings.inspect
    assert_equal PEM, settings.signing_key
  end

  private
    def parse(value)
      DurableStreams::Rails::SigningKey.parse(value)
    end
end
