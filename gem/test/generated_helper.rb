# frozen_string_literal: true

require "bundler/setup"
require "active_support"
require "json"
require "openssl"
require "active_support/test_case"
require "active_support/core_ext/string/strip"
require "minitest/autorun"
require_relative "support/generated_app"
