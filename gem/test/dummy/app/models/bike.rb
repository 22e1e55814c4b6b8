# frozen_string_literal: true

class Bike < Vehicle
end
