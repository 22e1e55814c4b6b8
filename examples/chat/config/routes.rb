# frozen_string_literal: true

Rails.application.routes.draw do
  get "up" => "rails/health#show"

  resources :rooms, only: :show do
    resources :messages, only: %i[ create destroy ]
    resource :presence, only: %i[ create destroy ], controller: "presences"
    resource :feed, only: :show
  end

  root to: redirect("/rooms/1")
end
