# frozen_string_literal: true

ENV["RAILS_ENV"] = "test"

require_relative "dummy/config/environment"
require "rails/test_help"

FileUtils.mkdir_p Rails.root.join("storage")
ActiveRecord::Schema.verbose = false
load Rails.root.join("db/schema.rb")

require "minitest/mock"
Dir[File.expand_path("support/*.rb", __dir__)].each { |file| require file }
