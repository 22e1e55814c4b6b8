# frozen_string_literal: true

require "active_support/core_ext/array/conversions"
require "active_support/parameter_filter"
require "concurrent/set"

module DurableStreams
  module Rails
    # Computes the value of a record's events: its own +to_stream_value+, public or
    # private, or its attributes without the secret ones.
    module RecordValue
      # Names of attributes that are withheld by default, like encrypted and binary
      # attributes and those that match the model's +filter_attributes+ or the app's
      # +filter_parameters+.
      SECRET_NAME = /
        (\A|_)(token|secret|password|passphrase|salt|otp|api_?key|(access|private|secret|signing|encryption)_key|(recovery|backup)_code)s?\z |
        _(digest|ciphertext)\z | \Aencrypted_
      /xi

      class << self
        # +only+ and +except+ select attributes, or keys of the hash that a custom
        # +to_stream_value+ returns.
        def of(object, only: nil, except: nil)
          only, except = [ only, except ].map { |names| Array(names).map(&:to_s) if names }

          if default?(object)
            only ? object.as_json(only: only) : object.as_json(except: withheld_attributes(object) + except.to_a)
          else
            choose(json_of(object.__send__(:to_stream_value)), only, except)
          end
        end

        # Returns the JSON form of any object. Records become their values wherever they
        # are nested, so that no secret leaves inside another object.
        def json_of(value)
          case value
          when String, Symbol, Numeric, true, false, nil then value.as_json
          when Hash then value.to_h { |key, item| [ key.to_s, json_of(item) ] }
          when Array, Set then value.map { |item| json_of(item) }
          else
            if defined?(::ActiveRecord::Relation) && value.is_a?(::ActiveRecord::Relation)
              value.map { |record| json_of(record) }
            else
              provided_by?(value) ? of(value) : value.as_json
            end
          end
        end

        def provided_by?(object)
          object.respond_to?(:to_stream_value, true)
        end

        def withheld_attributes(record)
          model = record.class
          encrypted = model.try(:encrypted_attributes).to_a.map(&:to_s)
          filter = ActiveSupport::ParameterFilter.new(filters_of(model), mask: FILTERED)

          names = record.attribute_names - Array(model.primary_key)
          names.select do |name|
            encrypted.include?(name) || name.match?(SECRET_NAME) || model.type_for_attribute(name).type == :binary ||
              FILTERED.equal?(filter.filter_param(name, ""))
          end.tap { |withheld| announce(model, withheld) if withheld.any? }
        end

        private
          # A record may have an attribute named "method".
          def default?(object)
            object.is_a?(Broadcastable) &&
              Kernel.instance_method(:method).bind_call(object, :to_stream_value).owner == Broadcastable
          end

          FILTERED = Object.new
          private_constant :FILTERED

          ANNOUNCED = Concurrent::Set.new
          private_constant :ANNOUNCED

          # Once for each model, to explain missing attributes.
          def announce(model, withheld)
            if ANNOUNCED.add?(model.name)
              ::Rails.logger&.info { "  DurableStreams sends #{model.name} without #{withheld.to_sentence}. To send them, list them in only: or override to_stream_value" }
            end
          end

          # Procs filter values rather than names.
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
  end
end
