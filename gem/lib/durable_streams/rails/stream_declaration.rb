# frozen_string_literal: true

module DurableStreams
  module Rails
    # One +streams_to+ or +streams+ of a model.
    class StreamDeclaration # :nodoc:
      OPERATIONS = { create: :insert, update: :update, destroy: :delete }.freeze

      attr_reader :options

      # A target is a symbol, a callable, or an array of streamables.
      def initialize(targets, on: OPERATIONS.keys, **options)
        options.assert_valid_keys(:if, :unless, :type, :only, :except)
        @targets = targets
        @operations = operations_of(Array(on))
        @conditions, @exceptions = options.values_at(:if, :unless).map { |conditions| conditions_of(conditions) }
        @options = options.slice(:type, :only, :except).compact
      end

      def applies?(record, operation)
        @operations.include?(operation) &&
          @conditions.all? { |condition| evaluate(condition, record) } &&
          @exceptions.none? { |condition| evaluate(condition, record) }
      end

      def streams_of(record)
        @targets.flat_map do |target|
          streamables = target.is_a?(Array) ? literal(target, record) : evaluate(target, record)
          many?(streamables) ? streamables.map { |streamable| [ streamable ] } : [ Array.wrap(streamables) ]
        end
      end

      def verify(record)
        missing = (@targets + @conditions + @exceptions).grep(Symbol).find { |name| !record.respond_to?(name, true) }
        raise ArgumentError, "streams_to #{missing.inspect}: #{record.class} has no such association or method" if missing
      end

      private
        def operations_of(actions)
          unknown = actions - OPERATIONS.keys
          raise ArgumentError, "on: must be :create, :update, :destroy or several of them, not #{unknown.first.inspect}" if unknown.any? || actions.empty?
          OPERATIONS.values_at(*actions)
        end

        def conditions_of(conditions)
          Array(conditions).each do |condition|
            next if condition.is_a?(Symbol) || condition.respond_to?(:call)
            raise ArgumentError, "if: and unless: must be methods or procs, not #{condition.inspect}"
          end
        end

        def literal(streamables, record)
          streamables.empty? ? [ record ] : streamables
        end

        def evaluate(callable, record)
          case callable
          when Symbol then record.__send__(callable)
          when Proc then callable.arity.zero? ? record.instance_exec(&callable) : callable.call(record)
          else callable.call(record)
          end
        end

        # Each record of a relation has a stream of its own.
        def many?(streamables)
          defined?(::ActiveRecord::Relation) && streamables.is_a?(::ActiveRecord::Relation)
        end
    end
  end
end
