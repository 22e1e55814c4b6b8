# frozen_string_literal: true

class Dog < Animal
end
