# frozen_string_literal: true

require "action_controller/metal/strong_parameters"
require "active_support/rescuable"

module DurableStreams
  # Processes the events of streams, such as those that browsers write:
  #
  #   class RoomMessagesHandler < DurableStreams::Handler
  #     subscribes_to Room, :messages
  #
  #     def process(event)
  #       message = params.permit(:key, value: [ :body ])
  #       record.messages.create_with(body: message.dig(:value, :body)).find_or_create_by!(uuid: message[:key])
  #     end
  #   end
  #
  # The server keeps a cursor for each stream and moves it when the events have been
  # processed. *Every event is processed at least once*: after a crash, some of them
  # again. The events of a stream come in their order, unless a handler lasts longer
  # than its lease can be extended.
  #
  # An event is anything that can be written in JSON. Those of browsers are input like
  # the parameters of a request: #params has them in that form.
  #
  # If #process raises, the error is reported, the events are processed again later,
  # and later events of the stream wait. Handle errors that a repetition does not cure
  # with +rescue_from+, which skips the event:
  #
  #   rescue_from(ActiveRecord::RecordInvalid) { |error| Rails.error.report(error, context: { event: event }) }
  #
  # <tt>bin/rails durable_streams:subscriptions:sync</tt> creates the subscriptions of
  # all handlers.
  class Handler
    include ActiveSupport::Rescuable

    class << self
      # Declares the streams. Models stand for all their records, and in strings
      # <tt>*</tt> is one segment of a name and <tt>**</tt> any number of them.
      #
      #   subscribes_to Room, :messages
      #   subscribes_to "presence/**", via: :worker
      #
      # ==== Options
      #
      # * <tt>via:</tt> <tt>:webhook</tt> (the default): the server posts to
      #   <tt>config.durable_streams.webhook_url</tt>, and a job processes the events.
      #   <tt>:worker</tt>: a DurableStreams::Worker fetches them.
      # * <tt>lease:</tt> seconds after which the events of a process that has crashed are
      #   processed by another one; 30 by default, from 1 to 600
      # * <tt>batch_size:</tt> the largest number of events for each call of
      #   #process_batch; 100 by default
      # * <tt>queue:</tt> the queue of the job; <tt>config.durable_streams.queue</tt> by
      #   default
      # * <tt>id:</tt> the subscription's id on the server; by default made of the names of
      #   the app and the handler
      # * <tt>description:</tt> a description that the server's tools show
      def subscribes_to(*streamables, **options)
        @subscription = Rails::Subscription.new(self, streamables, **options)
      end

      # The DurableStreams::Rails::Subscription.
      def subscription
        @subscription || raise(ConfigurationError, "#{name} does not say which streams it handles: add subscribes_to")
      end

      def subscribed? # :nodoc:
        @subscription.present?
      end

      # Processes events of one stream.
      def perform(stream, events) # :nodoc:
        payload = { handler: name, stream: stream, count: events.size }
        ActiveSupport::Notifications.instrument("process.durable_streams", payload) { new(stream).perform(events) }
      end
    end

    # The name of the stream.
    attr_reader :stream

    # The event that is being processed, also in a +rescue_from+.
    attr_reader :event

    def initialize(stream) # :nodoc:
      @stream = stream
    end

    # Processes one event.
    def process(event)
      raise NotImplementedError, "#{self.class.name} must define process(event) or process_batch(events)"
    end

    # Processes events of the stream, each with #process. Redefine it to process them
    # together, with +insert_all+ for example. If it raises, all of them are processed
    # again.
    def process_batch(events)
      events.each do |event|
        @event, @params = event, nil
        rescuing { process(event) }
      end
    ensure
      @event = @params = nil
    end

    # The record in the name of the stream: for <tt>subscribes_to Room, :messages</tt>
    # the room. With several models, <tt>record(User)</tt> is that of another than the
    # first. Raises ActiveRecord::RecordNotFound if it has been deleted.
    #
    # Your app has signed the name, so a browser cannot choose the record.
    def record(model = nil)
      @records ||= {}
      @records[model] ||= self.class.subscription.pattern.locate(stream, model)
    end

    # The event as parameters, which are empty if it is no JSON object.
    def params
      @params ||= ActionController::Parameters.new(event.is_a?(Hash) ? event : {})
    end

    def perform(events) # :nodoc:
      rescuing { process_batch(events) }
    end

    private
      def rescuing
        yield
      rescue StandardError => error
        rescue_with_handler(error) || raise
      end
  end
end
