# frozen_string_literal: true

DurableStreams::Engine.routes.draw do
  post "webhook", to: DurableStreams::Webhook::Endpoint, as: :webhook
end
