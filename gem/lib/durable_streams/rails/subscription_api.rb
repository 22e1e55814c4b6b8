# frozen_string_literal: true

module DurableStreams
  module Rails
    # The server's subscription API. Its refusals have codes: in the protocol's form,
    # <tt>{ "error": { "code": "FENCED" } }</tt>, or as a problem document.
    class SubscriptionApi # :nodoc:
      def initialize(transport = DurableStreams.transport)
        @transport = transport
      end

      # Returns the subscription, or nil.
      def find(id)
        response = @transport.control(Net::HTTP::Get, path(id))
        document(response, id) unless failed(response, id, accept: [ 404 ])
      end

      # Returns whether the subscription is new. Raises Conflict if there is one with
      # another configuration.
      def create(id, configuration)
        response = @transport.control(Net::HTTP::Put, path(id), body: configuration)
        failed(response, id)
        document(response, id)
        response.code == "201"
      end

      def delete(id)
        failed(@transport.control(Net::HTTP::Delete, path(id)), id, accept: [ 404 ])
      end

      NOTHING_TO_CLAIM = %w[ already-claimed no-pending-work paused ].freeze

      # Returns a Wake, or nil if the subscription has nothing to do, is paused or held by
      # another worker.
      def claim(id, worker:)
        response = @transport.control(Net::HTTP::Post, path(id, "claim"), body: { worker: worker })
        return if response.code == "204" || NOTHING_TO_CLAIM.include?(code_of(response))

        failed(response, id)
        claimed = document(response, id)
        Wake.build(claimed, subscription_id: id, token: claimed["token"])
      end

      # Extends the lease and moves cursors; with +done+ ends it. +action+ is callback
      # for a wake that came by webhook, and ack for one that was claimed. Returns
      # whether another wake follows.
      #
      # Raises Fenced if the wake is not current any longer, and Conflict if one of the
      # offsets cannot be acknowledged.
      def acknowledge(wake, action, acks, done: false)
        body = { wake_id: wake.id, generation: wake.generation, acks: acks.map { |stream, offset| { stream: stream, offset: offset } } }
        body[:done] = true if done
        response = @transport.control(Net::HTTP::Post, path(wake.subscription_id, action), body: body, token: wake.token)
        fenced(response, wake)
        document(response, wake.subscription_id)["next_wake"] == true
      end

      # Gives the claim back.
      def release(wake)
        response = @transport.control(Net::HTTP::Post, path(wake.subscription_id, "release"), body: { wake_id: wake.id, generation: wake.generation }, token: wake.token)
        fenced(response, wake)
      end

      private
        def path(id, action = nil)
          [ "subscriptions", id, action ].compact.join("/")
        end

        def document(response, id)
          @transport.control_document(response, path(id))
        end

        # Returns false, or true for an accepted failure. Raises for any other.
        def failed(response, id, accept: [])
          status = response.code.to_i
          return false if status < 300
          return true if accept.include?(status)
          raise @transport.control_failure(response, path(id))
        end

        # A lease that has ended has no token, and a deleted subscription none either.
        def fenced(response, wake)
          if response.code == "401" || response.code == "404" || code_of(response) == "fenced"
            raise Fenced, "the lease of #{wake.subscription_id}, generation #{wake.generation}, has ended"
          end
          failed(response, wake.subscription_id)
        end

        # In the form of problem codes: "already-claimed" for ALREADY_CLAIMED.
        def code_of(response)
          return unless response.code == "409"

          document = JSON.parse(response.body.to_s)
          code = document["error"].is_a?(Hash) ? document.dig("error", "code") : document["type"].to_s.split(":").last
          code.to_s.downcase.tr("_", "-")
        rescue JSON::ParserError, TypeError, NoMethodError
          nil
        end
    end
  end
end
