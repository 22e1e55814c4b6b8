# frozen_string_literal: true

require "durable_streams/rails"
