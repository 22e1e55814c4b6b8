# frozen_string_literal: true

require "test_helper"
require "open3"
require "rbconfig"

class TestHelperTest < ActiveSupport::TestCase
  THREADED_TESTS = <<~RUBY
    ENV["RAILS_ENV"] = "test"
    require "./test/dummy/config/environment"
    require "active_support/testing/autorun"
    require "active_support/test_case"
    require "active_job/test_helper"

    class PlainTest < ActiveSupport::TestCase
      parallelize(workers: 8, with: :threads, threshold: 0)
      setup { @record = Post.new(id: 1) }

      30.times do |at|
        test "captures its own \#{at}" do
          @record.stream_upsert_to("notes")
          assert_stream_broadcasts("notes", count: 2) do
            @record.stream_upsert_later_to("notes", key: at)
            Thread.pass
            @record.stream_upsert_to("notes", key: at)
          end
          assert_equal [ "1", at.to_s, at.to_s ], capture_stream_broadcasts("notes").pluck("key")
          assert_no_stream_broadcasts("notes") { Thread.pass }
          DurableStreams.signed_stream_url("made")
          assert DurableStreams.stream_metadata("made")
        end
      end
    end

    class WithJobHelperTest < PlainTest
      include ActiveJob::TestHelper
    end
  RUBY

  setup { @post = Post.create!(title: "Post") }

  test "failure messages name what was expected" do
    assert_fails(/at least one broadcast on "gid:.*", but there were none/) { assert_stream_broadcasts(@post) }
    assert_fails(/Expected 2 broadcasts on ".*", but there was 1/) { assert_stream_broadcasts(@post, count: 2) { @post.comments.create!(body: "a") } }
    assert_fails(/Expected no broadcasts on ".*", but there was 1/) { assert_no_stream_broadcasts(@post) }
  end

  test "a block limits the assertion to itself" do
    broadcast
    assert_stream_broadcasts("notes", count: 1) { broadcast }
    assert_no_stream_broadcasts("notes") { @post.touch }
    assert_stream_broadcasts("notes", count: 2)
    assert_equal 2, capture_stream_broadcasts([ :notes ]).size
  end

  test "each test begins without broadcasts" do
    assert_no_stream_broadcasts "notes"
  end

  test "broadcast jobs run inline only inside the block" do
    adapter = DurableStreams::Rails::BroadcastJob.queue_adapter
    capture_stream_broadcasts("notes") { assert_instance_of ActiveJob::QueueAdapters::InlineAdapter, DurableStreams::Rails::BroadcastJob.queue_adapter }
    assert_same adapter, DurableStreams::Rails::BroadcastJob.queue_adapter
  end

  test "a failure message mentions jobs enqueued outside a block" do
    adapter, DurableStreams::Rails::BroadcastJob.queue_adapter = DurableStreams::Rails::BroadcastJob.queue_adapter, :test
    @post.comments.create!(body: "a")
    assert_fails(/there were none\. 1 broadcast job is enqueued; jobs run inside the block/) { assert_stream_broadcasts(@post) }
    assert_fails(/there were 0\. 1 broadcast job is enqueued/) { assert_stream_broadcasts(@post, count: 1) }
    @post.comments.create!(body: "b")
    assert_fails(/2 broadcast jobs are enqueued/) { assert_stream_broadcasts(@post) }
    assert_fails(/none\z/) { assert_stream_broadcasts(@post) { } }
  ensure
    DurableStreams::Rails::BroadcastJob.queue_adapter = adapter
  end

  test "a failure message mentions failed broadcasts" do
    model = Class.new(ApplicationRecord) { self.table_name = "comments"; streams -> { raise "oops" } }
    self.class.const_set(:Failing, model)
    assert_fails(/there were none\. RuntimeError: oops/) { assert_stream_broadcasts(@post) { model.create! } }
  end

  test "tests can run in parallel threads" do
    output, status = Open3.capture2e({ "PARALLEL_WORKERS" => nil }, RbConfig.ruby, "-Itest", "-e", THREADED_TESTS, chdir: File.expand_path("../..", __dir__))
    assert_predicate status, :success?, output
    assert_match "60 runs, 240 assertions, 0 failures, 0 errors", output
  end

  test "threads belong to the test that started them, or to the only running test" do
    before = Queue.new.then { |queue| [ queue, Thread.new { Fiber[:durable_streams_sandbox] = nil; queue.pop.call } ] }
    assert_stream_broadcasts("notes", count: 2) do
      Thread.new { broadcast }.join
      before.first << -> { broadcast }
      before.last.join
    end
  end

  test "disable! and enable! switch the transport" do
    DurableStreams::Rails::Testing.with_server do
      assert_instance_of DurableStreams::Rails::HttpTransport, DurableStreams.transport
    end
    assert DurableStreams::Rails::Testing.enabled?
  end

  private
    def broadcast
      DurableStreams.broadcast_to("notes", type: "note", key: "1")
    end

    def assert_fails(message, &block)
      assert_match message, assert_raises(Minitest::Assertion, &block).message
    end
end
