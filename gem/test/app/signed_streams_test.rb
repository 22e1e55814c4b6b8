# frozen_string_literal: true

require "test_helper"

class SignedStreamsTest < ActiveSupport::TestCase
  setup { @room = Room.create!(name: "A") }

  test "a signed URL has a token for its stream and creates it" do
    url = DurableStreams.signed_stream_url(@room, :messages)
    base, token = url.split("?token=")

    assert_equal "http://localhost:4437/v1/streams/gid://dummy/Room/#{@room.id}/messages", base
    claims, = JWT.decode(token, nil, false)
    assert_equal "gid://dummy/Room/#{@room.id}/messages", claims["stream"]
    assert DurableStreams.stream_metadata(@room, :messages), "the stream was created"
  end

  test "signed_stream_primitives returns URL, token and offset" do
    DurableStreams.broadcast_to(@room, :messages, type: "message", key: "1")
    url, token, offset = DurableStreams.signed_stream_primitives(@room, :messages, expires_in: 1.hour, permissions: %i[ read write ])

    assert_equal "http://localhost:4437/v1/streams/gid://dummy/Room/#{@room.id}/messages", url
    assert_equal %w[ read write ], JWT.decode(token, nil, false).first["permissions"]
    assert_equal DurableStreams.stream_offset(@room, :messages), offset
    assert_equal %w[ url token offset ], DurableStreams.signed_stream_primitives(@room).as_json.keys
  end

  test "inspecting signed_stream_primitives does not reveal the token" do
    primitives = DurableStreams.signed_stream_primitives(@room)
    [ primitives.inspect, primitives.to_s, "#{primitives}", [ primitives ].inspect ].each { |text| assert_not_includes text, primitives.token }
  end

  test "a URL without a stream raises" do
    assert_raises(ArgumentError) { DurableStreams.signed_stream_url(nil) }
  end

  test "a controller can render a signed URL" do
    post = Post.create!(title: "Post")
    session = ActionDispatch::Integration::Session.new(Rails.application)
    session.get "/posts/#{post.id}"

    assert_match "/gid://dummy/Post/#{post.id}?token=", session.response.parsed_body["url"]
    assert_equal DurableStreams.stream_offset(post), session.response.parsed_body["offset"]
  end

  test "captured streams have offsets and metadata, and can be closed and deleted" do
    assert_nil DurableStreams.stream_metadata("notes")
    assert_empty DurableStreams.read_stream("notes")
    tail = DurableStreams.stream_offset("notes")
    DurableStreams.broadcast_to("notes", type: "note", key: "1")

    assert_equal [ "1" ], DurableStreams.read_stream("notes", offset: tail).pluck("key")
    assert_operator DurableStreams.stream_offset("notes"), :>, tail
    DurableStreams.close_stream("notes")
    assert_predicate DurableStreams.stream_metadata("notes"), :closed?
    assert_predicate DurableStreams.read_stream("notes"), :closed?
    assert DurableStreams.delete_stream("notes")
    assert_not DurableStreams.delete_stream("notes")
  end
end
