# frozen_string_literal: true

require_relative "lib/durable_streams/rails/version"

Gem::Specification.new do |spec|
  spec.name        = "durable_streams-rails"
  spec.version     = DurableStreams::Rails::VERSION
  spec.authors     = [ "The durable-streams-server authors" ]
  spec.summary     = "Durable Streams for Rails: State Protocol events from your models over plain HTTP"
  spec.description = "Broadcasts creates, updates and destroys to durable, resumable streams, signs the URLs that browsers read them by, and installs the server."
  spec.homepage    = "https://github.com/durable-streams-rails/durable-streams-server"
  spec.license     = "MIT"

  spec.metadata = {
    "homepage_uri"          => spec.homepage,
    "source_code_uri"       => "#{spec.homepage}/tree/main/gem",
    "rubygems_mfa_required" => "true"
  }

  spec.required_ruby_version = ">= 3.2"

  spec.files       = Dir.chdir(__dir__) { Dir["{config,docs,lib}/**/*", "exe/durable-streams", "MIT-LICENSE", "README.md"].reject { |path| File.directory?(path) } }
  spec.bindir      = "exe"
  spec.executables = [ "durable-streams" ]

  spec.add_dependency "railties", ">= 7.2"
  spec.add_dependency "jwt", ">= 2.7"
  spec.add_dependency "net-http-persistent", ">= 4.0"
end
