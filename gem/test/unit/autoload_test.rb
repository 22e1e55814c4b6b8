# frozen_string_literal: true

require "test_helper"
require "open3"

class AutoloadTest < ActiveSupport::TestCase
  LIB = File.expand_path("../../lib", __dir__)

  test "eager loading leaves only constants of tasks and tests, and the jobs without Active Job" do
    output = ruby(<<~RUBY)
      require "rails"
      require "durable_streams-rails"

      2.times do
        DurableStreams::Rails.eager_load!
        puts DurableStreams::Rails.constants.select { |name| DurableStreams::Rails.autoload?(name) }.sort.join(" ")
        require "active_job"
      end
    RUBY

    assert_equal [ "BroadcastJob DeliveryJob HealthCheck KeyPair ServerBinary Testing", "HealthCheck KeyPair ServerBinary Testing" ], output.lines(chomp: true)
  end

  test "the binary can be located without Rails" do
    assert_equal "durable-streams-server\n", ruby("require 'durable_streams/rails/server_binary'; puts DurableStreams::Rails::ServerBinary::NAME, defined?(ActiveSupport)")
  end

  private
    def ruby(code)
      output, status = Open3.capture2e(RbConfig.ruby, "-I", LIB, "-e", code)
      assert_predicate status, :success?, output
      output.sub(/\n\n\z/, "\n")
    end
end
