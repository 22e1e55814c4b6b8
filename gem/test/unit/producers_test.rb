# frozen_string_literal: true

require "test_helper"

class ProducersTest < ActiveSupport::TestCase
  setup { @producers = DurableStreams::Rails::Producers.new(process_id: "p") }

  test "the appends of a stream are numbered without gaps" do
    assert_equal [ [ "p-1", 0, 0 ], [ "p-1", 0, 1 ] ], 2.times.map { use("a") }
    assert_equal [ "p-2", 0, 0 ], use("b")
  end

  test "concurrent appends have different producers" do
    @producers.with("a") do |outer|
      @producers.with("a") { |inner| assert_not_equal outer.id, inner.id }
    end
  end

  test "a producer whose append failed is not used again" do
    assert_raises(RuntimeError) { @producers.with("a") { raise "lost" } }
    assert_equal [ "p-2", 0, 0 ], use("a")
  end

  test "the least recently used producers are dropped at the limit" do
    (DurableStreams::Rails::Producers::MAX_STREAMS + 1).times { |at| use(at.to_s) }
    assert_equal 0, use("0").last
    assert_equal 1, use("10000").last
  end

  private
    def use(stream)
      @producers.with(stream) { |identity| identity.to_a }
    end
end
