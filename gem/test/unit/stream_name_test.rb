# frozen_string_literal: true

require "test_helper"

class StreamNameTest < ActiveSupport::TestCase
  include DurableStreams::Rails::StreamName

  setup { @room = Room.create!(name: "A") }

  test "records, strings and symbols can be nested" do
    assert_equal "boards", stream_name_from("boards")
    assert_equal "gid://dummy/Room/#{@room.id}", stream_name_from(@room)
    assert_equal "gid://dummy/Room/#{@room.id}/messages", stream_name_from([ @room, :messages ])
    assert_equal "a/gid://dummy/Room/#{@room.id}/1", stream_name_from([ "a", [ @room, 1 ] ])
  end

  test "a Global ID, signed or not, names its record's stream" do
    [ @room.to_gid, @room.to_signed_global_id ].each do |gid|
      assert_equal stream_name_from([ @room, :messages ]), stream_name_from([ gid, :messages ])
    end
  end

  test "names can use the Base64 form" do
    DurableStreams.config.stream_name_format = :gid_param
    assert_equal @room.to_gid_param, stream_name_from(@room.to_gid)
    assert_equal "#{@room.to_gid_param}/messages", stream_name_from([ @room, :messages ])
  ensure
    DurableStreams.config.stream_name_format = :gid
  end

  test "names that the server would refuse raise" do
    [ "", "a/../b", "./a", "..", "a\nb", "a" * 1025, "__ds/a", [ "__ds" ] ].each do |name|
      assert_raises(ArgumentError, name.inspect) { stream_name_from(name) }
    end
    assert_equal "a..b/.c", stream_name_from("a..b/.c")
  end

  test "a blank part raises anywhere in a name" do
    [ nil, "", " ", [], [ nil ], [ nil, :messages ], [ @room, nil ], [ @room, "" ], [ @room, [] ], [ @room, [ nil ] ], [ "a", "\u3000" ], :"" , [ @room, false ] ].each do |streamables|
      assert_raises(ArgumentError, streamables.inspect) { stream_name_from(streamables) }
      assert_raises(ArgumentError, streamables.inspect) { DurableStreams.signed_stream_url(*streamables) }
    end
    assert_raises(ArgumentError) { DurableStreams.signed_stream_url }
  end

  test "objects that cannot name a stream raise" do
    relation, params = Room.where(id: @room.id), ActionController::Parameters.new(a: 1)
    [ -> { }, method(:puts), {}, { a: 1 }, true, Set[ "a" ], 1..2, relation, @room.class.all, params, Object.new, Struct.new(:a).new(1), Room.new ].each do |streamable|
      [ streamable, [ "a", streamable ], [ "a", [ streamable ] ] ].each do |streamables|
        assert_raises(ArgumentError, streamable.class.name) { stream_name_from(streamables) }
      end
    end
    error = assert_raises(ArgumentError) { DurableStreams.broadcast_to("room", { type: "x", key: 1 }) }
    assert_match "without braces", error.message
    assert_equal "2026-01-02/1/Room", stream_name_from([ Date.new(2026, 1, 2), 1, Room ])
  end

  test "a Global ID without its second slash and invalid UTF-8 raise" do
    [ "gid:/app/Room/1", "a/gid:/app/Room/1", [ "x", "gid:/app" ], "gid:/", "a\xFF", "\xFF".b, [ @room, "a\xFF" ] ].each do |streamables|
      assert_raises(ArgumentError, streamables.inspect) { stream_name_from(streamables) }
    end
    assert_equal "häuser", stream_name_from("häuser".b)
    assert_equal "häuser", stream_name_from("häuser".encode("ISO-8859-1"))
    assert_equal "gid://app/Room/1/gid://app/Room/2", stream_name_from("gid://app/Room/1/gid://app/Room/2")
  end

  test "an object with a key but no Global ID raises" do
    klass = Class.new do
      include ActiveModel::Model
      def to_key = [ 1 ]
    end
    assert_raises(ArgumentError) { stream_name_from(klass.new) }
  end

  test "paths keep slashes and colons readable" do
    assert_equal "gid://app/Room/1/messages", DurableStreams::Rails::StreamName.to_path("gid://app/Room/1/messages")
    assert_equal "a%3Fb%23c%25%20%C3%A4", DurableStreams::Rails::StreamName.to_path("a?b#c% ä")
  end
end
