# frozen_string_literal: true

Rails.application.configure do
  config.enable_reloading = false
  config.eager_load = ENV["CI"].present?
  config.consider_all_requests_local = true
  config.active_support.deprecation = :raise
  config.action_controller.allow_forgery_protection = false
  config.cache_store = :null_store
end
