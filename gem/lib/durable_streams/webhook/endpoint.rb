# frozen_string_literal: true

module DurableStreams
  module Webhook
    # The Rack app of the engine's route. Verifies a delivery and enqueues a
    # DurableStreams::Rails::DeliveryJob.
    #
    # It is no controller, because those parse and log bodies before an action can
    # verify them.
    module Endpoint # :nodoc:
      HEADERS = { "content-type" => "application/json", "cache-control" => "no-store" }.freeze

      class << self
        def call(env)
          signature = env["HTTP_WEBHOOK_SIGNATURE"]
          Signature.parse(signature).verify_time # Before anybody's body is read.
          accept(Webhook.verify(read(env), signature))
        rescue BodyTooLarge => error
          refuse(413, error)
        rescue InvalidBody => error
          refuse(400, error)
        rescue VerificationError => error
          refuse(401, error)
        rescue ConnectionError => error
          refuse(503, error)
        end

        private
          # Reads one byte more than is allowed.
          def read(env)
            raise BodyTooLarge, "the body is larger than #{MAX_BODY_BYTES} bytes" if env["CONTENT_LENGTH"].to_i > MAX_BODY_BYTES
            env["rack.input"]&.read(MAX_BODY_BYTES + 1).to_s.b
          end

          # A server error makes the server deliver again.
          def accept(wake)
            subscription = Rails::Subscription.find(wake.subscription_id)
            if subscription.nil?
              refuse(404, Error.new("no handler of this app has the subscription #{wake.subscription_id}"))
            elsif wake.streams.empty?
              respond(200, done: true)
            else
              enqueue(subscription, wake)
            end
          end

          def enqueue(subscription, wake)
            queue = subscription.queue || DurableStreams.config.queue
            job = Rails::DeliveryJob.new(wake.to_h)
            job.enqueue({ queue: queue }.compact)
            raise job.enqueue_error || Error.new("the job was not enqueued") unless job.successfully_enqueued?
            respond(202, {})
          end

          def refuse(status, error)
            ::Rails.logger&.warn("  DurableStreams refused a webhook: #{error.message}")
            respond(status, error: error.message)
          end

          def respond(status, body)
            [ status, HEADERS.dup, [ body.to_json ] ]
          end
      end
    end
  end
end
