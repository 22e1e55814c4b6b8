# frozen_string_literal: true

require "test_helper"

class SettingsTest < ActiveSupport::TestCase
  setup { @settings = DurableStreams::Rails::Settings.new }

  test "settings have defaults" do
    assert_nil @settings.client_url
    assert_equal 15.minutes, @settings[:signed_stream_url_expires_in]
    assert_nil @settings.signing_kid
  end

  test "an unknown key raises, however it is accessed" do
    [
      -> { @settings.client_ulr = "x" },
      -> { @settings[:client_ulr] = "x" },
      -> { @settings["client_ulr"] = "x" },
      -> { @settings.client_ulr },
      -> { @settings[:client_ulr] },
      -> { @settings.client_ulr! },
      -> { @settings.merge!(client_ulr: "x") },
      -> { @settings.update(client_ulr: "x") },
      -> { Rails.application.config.durable_streams.client_ulr = "x" }
    ].each do |attempt|
      error = assert_raises(DurableStreams::ConfigurationError, &attempt)
      assert_equal "config.durable_streams.client_ulr is not a setting. Did you mean client_url?", error.message
    end
    assert_match "The settings are client_url, server_url", assert_raises(DurableStreams::ConfigurationError) { @settings.qqq = 1 }.message
    assert_respond_to @settings, :client_url=
    assert_not_respond_to @settings, :client_ulr
    assert_equal [ @settings ], [ [ @settings ] ].flatten
  end

  test "an invalid number raises when it is set" do
    %i[ token_expiry open_timeout read_timeout write_timeout max_retries retry_timeout page_timeout page_retry_interval ].each do |name|
      [ "5", nil, -1, :a ].each do |value|
        error = assert_raises(DurableStreams::ConfigurationError, "#{name} #{value.inspect}") { @settings[name] = value }
        assert_equal "config.durable_streams.#{name} must be a number, not #{value.inspect}", error.message
      end
      [ 0, 0.5, 2.seconds ].each { |value| assert_equal value, @settings[name] = value }
    end
  end

  test "the addresses can be set on the settings and on the module" do
    was = DurableStreams.client_url, DurableStreams.server_url
    Rails.application.config.durable_streams.client_url = "https://a.example.com/v1/streams/"
    assert_equal "https://a.example.com/v1/streams", DurableStreams.client_url
    DurableStreams.server_url = "http://10.0.0.5:4437/v1/streams/"
    assert_equal "http://10.0.0.5:4437/v1/streams", Rails.application.config.durable_streams.server_url
    assert_equal URI("http://b.example.com/x"), URI(@settings.tap { |settings| settings.client_url = URI("http://b.example.com/x/") }.client_url)
  ensure
    DurableStreams.client_url, DurableStreams.server_url = was
  end
end
