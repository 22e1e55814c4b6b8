# frozen_string_literal: true

require "test_helper"
require "open3"

class AutoloadTest < ActiveSupport::TestCase
  LIB = File.expand_path("../../lib", __dir__)

  test "eager loading leaves only constants of tasks, tests and Active Job" do
    assert_equal %w[ BroadcastJob HealthCheck KeyPair ServerBinary Testing ], pending_after("DurableStreams::Rails.eager_load!")
  end

  test "eager loading includes the job in an app with Active Job" do
    assert_not_includes pending_after("require 'active_job'; DurableStreams::Rails.eager_load!"), "BroadcastJob"
  end

  test "the binary can be located without Rails" do
    assert_equal "durable-streams-server\n", ruby("require 'durable_streams/rails/server_binary'; puts DurableStreams::Rails::ServerBinary::NAME, defined?(ActiveSupport)")
  end

  private
    # The constants that are still to be loaded.
    def pending_after(code)
      ruby(<<~RUBY).split
        require "rails"
        require "durable_streams-rails"
        #{code}
        puts DurableStreams::Rails.constants.select { |name| DurableStreams::Rails.autoload?(name) }.sort
      RUBY
    end

    def ruby(code)
      output, status = Open3.capture2e(RbConfig.ruby, "-I", LIB, "-e", code)
      assert_predicate status, :success?, output
      output.sub(/\n\n\z/, "\n")
    end
end
