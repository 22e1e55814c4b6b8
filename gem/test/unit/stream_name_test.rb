# frozen_string_literal: true

require "test_helper"

class StreamNameTest < ActiveSupport::TestCase
  include DurableStreams::Rails::StreamName

  setup { @room = Room.create!(name: "A") }

  test "records, strings and symbols, nested" do
    assert_equal "boards", stream_name_from("boards")
    assert_equal "gid://dummy/Room/#{@room.id}", stream_name_from(@room)
    assert_equal "gid://dummy/Room/#{@room.id}/messages", stream_name_from([ @room, :messages ])
    assert_equal "a/gid://dummy/Room/#{@room.id}/1", stream_name_from([ "a", [ @room, 1 ] ])
  end

  test "names of Base64" do
    DurableStreams.config.stream_name_format = :gid_param
    assert_equal "#{@room.to_gid_param}/messages", stream_name_from([ @room, :messages ])
  ensure
    DurableStreams.config.stream_name_format = :gid
  end

  test "names that no stream can have" do
    [ "", "a/../b", "./a", "..", "a\nb", "a" * 1025, "__ds/a", [ "__ds" ] ].each do |name|
      assert_raises(ArgumentError, name.inspect) { stream_name_from(name) }
    end
    assert_equal "a..b/.c", stream_name_from("a..b/.c")
  end

  test "something that has a key but no Global ID" do
    klass = Class.new do
      include ActiveModel::Model
      def to_key = [ 1 ]
    end
    assert_raises(ArgumentError) { stream_name_from(klass.new) }
  end

  test "paths" do
    assert_equal "gid://app/Room/1/messages", DurableStreams::Rails::StreamName.to_path("gid://app/Room/1/messages")
    assert_equal "a%3Fb%23c%25%20%C3%A4", DurableStreams::Rails::StreamName.to_path("a?b#c% ä")
  end
end
