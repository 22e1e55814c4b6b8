# frozen_string_literal: true

require "test_helper"

# Shards, tenants and STI types, which a Global ID does not include.
class IdentityTest < ActiveSupport::TestCase
  include ActiveJob::TestHelper

  teardown { DurableStreams.config.stream_prefix = nil }

  test "a job loads the record of its own shard" do
    acme, umbrella = %i[ acme umbrella ].map { |shard| on(shard) { Note.create!(id: 1, body: shard.to_s) } }
    assert_equal acme.to_gid, umbrella.to_gid
    perform_enqueued_jobs

    assert_equal %w[ acme umbrella ], DurableStreams.read_stream(acme).map { |event| event["value"]["body"] }
  end

  test "a job does not load the same id from another shard" do
    on(:acme) { Note.suppressing_streams { Note.create!(id: 1, body: "acme") } }
    on(:umbrella) { Note.create!(id: 1, body: "umbrella").delete }
    perform_enqueued_jobs

    assert_empty DurableStreams::Rails::Testing.broadcasts("gid://dummy/Note/1")
  end

  test "a job waits for the transaction of its shard" do
    on :umbrella do
      note = Note.suppressing_streams { Note.create!(body: "umbrella") }
      Note.transaction(requires_new: true) do
        note.stream_update_later
        assert_no_enqueued_jobs
        raise ActiveRecord::Rollback
      end
      Note.transaction(requires_new: true) { note.stream_update_later }
    end
    assert_enqueued_jobs 1
  end

  test "a job stores the role, the shard and their class" do
    note = on(:umbrella) { Note.suppressing_streams { Note.create!(body: "umbrella") } }
    TenantRecord.connected_to(role: :reading, shard: :umbrella) { note.stream_update_later }

    reference = enqueued_jobs.sole["arguments"].last["record"]
    assert_equal %w[ TenantRecord reading umbrella ], reference.values_at("connection_class", "role", "shard")
  end

  test "the tenant is part of every name" do
    tenant = nil
    DurableStreams.config.stream_prefix = -> { tenant }
    tenant = "acme"
    post = Post.create!(title: "Post")
    name = "acme/gid://dummy/Post/#{post.id}"

    assert_match "/v1/streams/#{name}?token=", DurableStreams.signed_stream_url(post)
    assert_equal name, JWT.decode(DurableStreams.signed_stream_primitives(post).token, nil, false).first["stream"]
    assert_stream_broadcasts(post, count: 1) { post.comments.create!(body: "a") }
    assert_equal 1, DurableStreams::Rails::Testing.broadcasts(name).size
    assert_equal 1, DurableStreams.read_stream(post).size
    post.comments.create!(body: "of acme")
    tenant = "umbrella"
    perform_enqueued_jobs
    assert_empty DurableStreams.read_stream(post)
    assert_nil DurableStreams.stream_metadata(post)
    assert_not DurableStreams.delete_stream(post)
    tenant = "acme"
    assert_equal [ "a", "of acme" ], DurableStreams.read_stream(post).map { |event| event["value"]["body"] }
    assert DurableStreams.delete_stream(post)
  end

  test "a nil prefix is omitted, and a blank one raises" do
    tenant = nil
    DurableStreams.config.stream_prefix = -> { tenant }
    assert_match "/v1/streams/a?token=", DurableStreams.signed_stream_url("a")
    tenant = Post.new(id: 7)
    assert_match "/v1/streams/gid://dummy/Post/7/a?token=", DurableStreams.signed_stream_url("a")
    [ "", " ", :"", false, Post.new, Object.new, -> { } ].each do |wrong|
      tenant = wrong
      assert_match "config.durable_streams.stream_prefix", assert_raises(ArgumentError) { DurableStreams.signed_stream_url("a") }.message
    end
    DurableStreams.config.stream_prefix = "fixed"
    assert_match "/v1/streams/fixed/a?token=", DurableStreams.signed_stream_url("a")
  end

  test "a record whose type changes leaves one stream and joins the other" do
    dog = Dog.suppressing_streams { Dog.create!(name: "Rex") }
    events = capture { dog.update!(type: "Cat") }
    assert_equal [ [ "gid://dummy/Dog/#{dog.id}", "delete", "dog" ], [ "cats", "insert", "cat" ], [ "gid://dummy/Cat/#{dog.id}", "insert", "cat" ] ].sort, events.map { |event| event.first(3) }.sort
    assert_equal [ "Rex" ] * 2, events.filter_map { |event| event.last&.fetch("name") }

    cat = Cat.find(dog.id)
    events = capture { cat.becomes!(Dog).save! }
    assert_equal [ [ "cats", "delete" ], [ "gid://dummy/Cat/#{dog.id}", "delete" ], [ "gid://dummy/Dog/#{dog.id}", "insert" ] ].sort, events.map { |event| event.first(2) }.sort
    assert_equal %w[ update ], capture { Dog.find(dog.id).update!(name: "Max") }.pluck(1)
  end

  test "a record can change from or to a type without declarations" do
    Car # Loaded, as in an app that loads eagerly or preloads STI classes.
    bike = Bike.create!
    assert_equal [ [ "cars", "insert", "car" ] ], capture { bike.update!(type: "Car") }.map { |event| event.first(3) }
    assert_nil bike.dup.stream_txid
    assert_equal [ [ "cars", "delete", "car" ] ], capture { Car.find(bike.id).update!(type: "Bike") }.map { |event| event.first(3) }
    assert_empty capture { Bike.find(bike.id).touch; Bike.create!.destroy! }
    assert_nil Bike.create!.stream_txid
  end

  test "a record whose type changes in its creating transaction is inserted under its new type" do
    events = capture { Animal.transaction(requires_new: true) { Dog.create!(name: "Rex").update!(type: "Cat") } }
    assert_equal %w[ insert insert ], events.pluck(1)
    assert_equal %w[ cat cat ], events.pluck(2)
  end

  private
    def on(shard, &block)
      TenantRecord.connected_to(role: :writing, shard: shard, &block)
    end

    # Returns stream, operation, type and value of each event.
    def capture(&block)
      events = []
      ActiveSupport::Notifications.subscribed(->(*, payload) { events << [ payload[:stream], payload[:event]["headers"]["operation"], payload[:event]["type"], payload[:event]["value"] ] }, "broadcast.durable_streams") do
        DurableStreams::Rails::Testing.performing_jobs(&block)
      end
      events
    end
end
