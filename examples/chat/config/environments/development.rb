# frozen_string_literal: true

Rails.application.configure do
  config.enable_reloading = true
  config.eager_load = false
  config.consider_all_requests_local = true
  config.active_record.migration_error = :page_load
  config.active_job.queue_adapter = :async
  config.action_controller.raise_on_missing_callback_actions = true
  config.hosts.clear
end
