# frozen_string_literal: true

class Car < Vehicle
  streams "cars"
end
