# frozen_string_literal: true

require_relative "boot"

require "rails"
require "active_model/railtie"
require "active_job/railtie"
require "active_record/railtie"
require "action_controller/railtie"
require "rails/test_unit/railtie"

require "durable_streams-rails"

module Dummy
  class Application < Rails::Application
    config.load_defaults Rails::VERSION::STRING.to_f
    config.root = File.expand_path("..", __dir__)
    config.eager_load = false
    config.filter_parameters = [ :passw, :secret ]
    config.active_record.encryption.primary_key = "k" * 32
    config.active_record.encryption.deterministic_key = "d" * 32
    config.active_record.encryption.key_derivation_salt = "s" * 32
  end
end
