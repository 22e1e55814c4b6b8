# frozen_string_literal: true

# The behaviour that the gem needs from a transport. Includers define #transport, with an
# empty store for each test.
module TransportContract
  extend ActiveSupport::Concern

  OFFSET = /\A\d{16}_\d{16}\z/

  included do
    test "a new stream is empty" do
      tail = transport.create("notes")

      assert_match OFFSET, tail
      assert_equal page([], tail), read("notes")
      assert_equal({ content_type: "application/json", offset: tail, closed: false, ttl: nil, expires_at: nil }, transport.metadata("notes").to_h)
    end

    test "creating a stream twice keeps its events" do
      transport.create("notes")
      tail = append("notes", 1)

      assert_equal tail, transport.create("notes")
      assert_equal page([ 1 ], tail), read("notes")
    end

    test "appends move the tail, and offsets sort as text" do
      tails = [ transport.create("notes"), append("notes", 1), append("notes", 2, 3), append("notes", 4) ]

      assert_equal tails.sort, tails
      assert_equal tails.uniq, tails
      assert_equal [ tails.first.split("_").first ], tails.map { |tail| tail.split("_").first }.uniq
      assert_equal tails.last, transport.metadata("notes").offset
    end

    test "a read continues at any offset" do
      beginning = transport.create("notes")
      middle = append("notes", 1, 2)
      tail = append("notes", 3)

      assert_equal page([ 1, 2, 3 ], tail), read("notes", "-1")
      assert_equal page([ 1, 2, 3 ], tail), read("notes", beginning)
      assert_equal page([ 3 ], tail), read("notes", middle)
      assert_equal page([], tail), read("notes", tail)
      assert_equal page([], tail), read("notes", "now")
    end

    test "the last digit of an offset has no meaning" do
      transport.create("notes")
      middle = append("notes", 1)
      append("notes", 2)

      assert_equal [ 2 ], values(read("notes", middle.sub(/0\z/, "1")))
    end

    test "an offset beyond the tail reads nothing" do
      incarnation = transport.create("notes").split("_").first
      assert_equal [], values(read("notes", "#{incarnation}_0000000000009990"))
    end

    test "something that is not an offset is refused" do
      transport.create("notes")
      assert_refused(DurableStreams::ResponseError, 400, "bad-request") { read("notes", "x") }
    end

    test "events are read as JSON" do
      transport.create("notes")
      transport.append("notes", [ { type: :note, "value" => { at: 1.5, text: "Grüße", list: [ nil, true ] } } ])

      assert_equal [ { "type" => "note", "value" => { "at" => 1.5, "text" => "Grüße", "list" => [ nil, true ] } } ], transport.read("notes", "-1").events
    end

    test "an append without events is refused" do
      transport.create("notes")
      assert_refused(DurableStreams::ResponseError, 400, "bad-request") { transport.append("notes", []) }
    end

    test "a repeated append takes effect once" do
      transport.create("notes")
      first = append("notes", 1, producer: producer(0))

      assert_equal first, append("notes", 1, producer: producer(0))
      second = append("notes", 2, producer: producer(1))
      assert_operator second, :>, first
      assert_equal second, append("notes", 1, producer: producer(0))
      assert_equal [ 1, 2 ], values(read("notes"))
    end

    test "an append of a producer that the stream has forgotten takes effect" do
      transport.create("notes")
      append("notes", 1, producer: producer(7))

      assert_equal [ 1 ], values(read("notes"))
    end

    test "producers and streams are independent" do
      %w[ notes others ].each { |name| transport.create(name) }
      append("notes", 1, producer: producer(0))
      append("notes", 2, producer: producer(0, id: "q"))
      append("others", 3, producer: producer(0))

      assert_equal [ [ 1, 2 ], [ 3 ] ], [ values(read("notes")), values(read("others")) ]
    end

    test "a closed stream is readable and accepts no more events" do
      transport.create("notes")
      tail = append("notes", 1)

      2.times { assert_equal tail, transport.close("notes") }
      assert_equal page([ 1 ], tail, closed: true), read("notes")
      assert_equal page([], tail, closed: true), read("notes", tail)
      assert_predicate transport.metadata("notes"), :closed?
      assert_refused(DurableStreams::StreamClosed, 409, "closed") { append("notes", 2) }
      transport.create("notes")
      assert_predicate transport.metadata("notes"), :closed?
    end

    test "a closed stream refuses even a repeated append" do
      transport.create("notes")
      append("notes", 1, producer: producer(0))
      transport.close("notes")

      assert_refused(DurableStreams::StreamClosed, 409, "closed") { append("notes", 1, producer: producer(0)) }
    end

    test "a stream that does not exist" do
      assert_nil transport.metadata("notes")
      assert_not transport.delete("notes")
      [ -> { read("notes") }, -> { append("notes", 1) }, -> { transport.close("notes") } ].each do |request|
        assert_refused(DurableStreams::StreamNotFound, 404, "not-found", &request)
      end
    end

    test "a deleted stream does not exist" do
      transport.create("notes")
      append("notes", 1)

      assert transport.delete("notes")
      assert_not transport.delete("notes")
      assert_nil transport.metadata("notes")
      assert_refused(DurableStreams::StreamNotFound, 404, "not-found") { append("notes", 2) }
    end

    test "a stream that is created again refuses the offsets of its earlier life" do
      transport.create("notes")
      before = append("notes", 1)
      transport.delete("notes")
      tail = transport.create("notes")

      assert_operator tail, :>, before
      assert_refused(DurableStreams::StreamGone, 410, "other-life") { read("notes", before) }
      assert_equal page([], tail), read("notes")
    end

    test "a stream that is created again has forgotten its producers" do
      transport.create("notes")
      append("notes", 1, producer: producer(0))
      transport.delete("notes")
      transport.create("notes")
      append("notes", 2, producer: producer(0))

      assert_equal [ 2 ], values(read("notes"))
    end

    test "a stream with a TTL" do
      transport.create("notes", ttl: 60)

      assert_equal 60, transport.metadata("notes").ttl
      transport.create("notes")
      assert_equal 60, transport.metadata("notes").ttl
    end

    test "a stream with a retention" do
      tail = transport.create("notes", retention_bytes: 1_000)

      assert_equal tail, transport.create("notes")
      assert_equal tail, transport.create("notes", retention_bytes: 1_000)
    end
  end

  private
    def append(name, *values, producer: nil)
      transport.append(name, values.map { |value| { "value" => value } }, producer: producer)
    end

    def read(name, offset = "-1")
      transport.read(name, offset)
    end

    def values(page)
      page.events.pluck("value")
    end

    def page(values, offset, closed: false)
      DurableStreams::Rails::StreamPage.new(values.map { |value| { "value" => value } }, offset, closed, true, 0)
    end

    def producer(seq, id: "p")
      { "id" => id, "epoch" => 0, "seq" => seq }
    end

    def assert_refused(error_class, status, code, &block)
      error = assert_raises(error_class, &block)
      assert_instance_of error_class, error
      assert_equal [ status, code ], [ error.status, error.code ]
    end
end
