# frozen_string_literal: true

module DurableStreams
  module Rails
    # A record in a job's arguments: its Global ID with the role and shard of its
    # connection. The same Global ID is a different record on another shard.
    class RecordReference # :nodoc:
      class Gone < StandardError; end

      class << self
        def refers_to?(value)
          defined?(::ActiveRecord::Base) && value.is_a?(::ActiveRecord::Base) && value.persisted?
        end

        def to(record, only: nil, except: nil)
          owner = record.class.connection_class_for_self
          new(
            "gid" => record.to_gid.to_s, "connection_class" => owner.name,
            "role" => record.class.current_role.to_s, "shard" => record.class.current_shard.to_s,
            "only" => only && Array(only).map(&:to_s), "except" => except && Array(except).map(&:to_s)
          )
        end
      end

      def initialize(attributes)
        @attributes = attributes.compact
      end

      def to_h
        @attributes
      end

      def value
        on_connection do
          RecordValue.of(locate, only: @attributes["only"], except: @attributes["except"])
        end
      end

      private
        def locate
          GlobalID::Locator.locate(@attributes.fetch("gid")) || raise(Gone)
        rescue ::ActiveRecord::RecordNotFound
          raise Gone
        end

        def on_connection(&block)
          owner = @attributes.fetch("connection_class").constantize
          role, shard = @attributes.values_at("role", "shard").map(&:to_sym)
          if owner.current_role == role && owner.current_shard == shard
            yield
          else
            owner.connected_to(role: role, shard: shard, &block)
          end
        end
    end
  end
end
