# frozen_string_literal: true

require "active_support/parameter_filter"

# What is sent of a record: its own +to_stream_value+ where its class has one,
# public or not, and otherwise its attributes without those that are secret.
module DurableStreams::Rails::RecordValue
  # Attributes that never leave by default: digests, tokens, passwords, keys.
  # Beside them stay encrypted attributes, binary ones, and all that the model's
  # +filter_attributes+ or the app's +filter_parameters+ name.
  SECRET_NAME = /
    (\A|_)(token|secret|password|passphrase|salt|otp|api_?key|(access|private|secret|signing|encryption)_key|(recovery|backup)_code)s?\z |
    _(digest|ciphertext)\z | \Aencrypted_
  /xi

  class << self
    # +only+ and +except+ choose among the default's attributes, or among the
    # keys of what +to_stream_value+ returns.
    def of(object, only: nil, except: nil)
      only, except = [ only, except ].map { |names| Array(names).map(&:to_s) if names }

      if object.is_a?(DurableStreams::Rails::Broadcastable) && object.method(:to_stream_value).owner == DurableStreams::Rails::Broadcastable
        only ? object.as_json(only: only) : object.as_json(except: withheld_attributes(object) + except.to_a)
      else
        choose(object.send(:to_stream_value).as_json, only, except)
      end
    end

    # Whether the object says what is to be sent of it.
    def provided_by?(object)
      object.respond_to?(:to_stream_value, true)
    end

    # The names of the attributes that the default leaves out.
    def withheld_attributes(record)
      model = record.class
      encrypted = model.try(:encrypted_attributes).to_a.map(&:to_s)
      filter = ActiveSupport::ParameterFilter.new(filters_of(model), mask: FILTERED)

      names = record.attribute_names - Array(model.primary_key)
      names.select do |name|
        encrypted.include?(name) || name.match?(SECRET_NAME) || model.type_for_attribute(name).type == :binary ||
          FILTERED.equal?(filter.filter_param(name, ""))
      end
    end

    private
      FILTERED = Object.new
      private_constant :FILTERED

      # Procs change values and name nothing.
      def filters_of(model)
        filters = model.filter_attributes.to_a + ::Rails.application&.config&.filter_parameters.to_a
        filters.reject { |filter| filter.is_a?(Proc) }.uniq
      end

      def choose(value, only, except)
        return value unless value.is_a?(Hash)
        value = value.slice(*only) if only
        value = value.except(*except) if except
        value
      end
  end
end
