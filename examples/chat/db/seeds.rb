# frozen_string_literal: true

Room.find_or_create_by!(id: 1) { |room| room.name = "Lobby" }
