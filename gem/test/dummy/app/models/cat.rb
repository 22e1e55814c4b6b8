# frozen_string_literal: true

class Cat < Animal
  streams "cats"
end
