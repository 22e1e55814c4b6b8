# frozen_string_literal: true

Rails.application.routes.draw do
  mount DurableStreams::Engine => "/durable_streams"

  get "up" => "rails/health#show"
  resources :posts, only: %i[ show ] do
    resources :comments, only: %i[ create ]
  end
end
