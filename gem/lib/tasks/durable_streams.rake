# frozen_string_literal: true

namespace :durable_streams do
  desc "Generate the keys for tokens (FOR=production for a deployed app, KID=… for an additional key)"
  task :generate_keys do
    require "durable_streams/rails"
    kid = ENV["KID"].presence
    abort "KID is #{kid.inspect}, but must be a file name of letters, digits, dots, dashes and underscores." unless kid.nil? || kid.match?(/\A\w[\w.-]*\z/)

    if ENV["FOR"].present? && %w[ development test ].exclude?(ENV["FOR"])
      pair = DurableStreams::Rails::KeyPair.new(kid: kid)
      if File.exist?(Rails.root.join(pair.deployed_path)) && ENV["FORCE"].blank?
        abort "#{pair.deployed_path} already exists and was not replaced, because tokens may be signed with its private key. KID=#{Date.current} generates an additional key, FORCE=1 replaces this one."
      end
      pair.write_deployed(Rails.root)
      puts <<~TEXT
        Wrote #{pair.deployed_path}, the public key. Commit it: the server verifies tokens with it.

        Put the private key only into the credentials of #{ENV["FOR"]}, with
        bin/rails credentials:edit --environment #{ENV["FOR"]}:

        #{pair.credentials}
      TEXT
    elsif DurableStreams::Rails::KeyPair.ensure_local(Rails.root, force: ENV["FORCE"].present?)
      puts <<~TEXT
        Wrote #{DurableStreams::Rails::KeyPair::LOCAL_SIGNING_KEY} and #{DurableStreams::Rails::KeyPair::LOCAL_VERIFY_KEY} for this machine. bin/dev is ready.

        For production: bin/rails durable_streams:generate_keys FOR=production
      TEXT
    else
      puts "#{DurableStreams::Rails::KeyPair::LOCAL_SIGNING_KEY} already exists and was not replaced. FORCE=1 replaces it."
    end
  rescue SystemCallError => error
    abort "durable_streams:generate_keys: #{error.message}"
  end

  desc "Download the server to bin/dist (DURABLE_STREAMS_VERSION for another version)"
  task :download do
    require "durable_streams/rails"
    DurableStreams::Rails::ServerBinary.new(root: Rails.root).download
  rescue DurableStreams::Rails::ServerBinary::Error => error
    abort "durable_streams:download: #{error.message}"
  end

  desc "Compare the app's settings with the server's configuration, and connect to the server"
  task check: :environment do
    health_check = DurableStreams::Rails::HealthCheck.new(Rails.application)
    problems = health_check.problems
    health_check.notes.each { |note| puts "durable_streams:check: #{note}" }
    if problems.any?
      abort problems.map { |problem| "durable_streams:check: #{problem}" }.join("\n")
    else
      puts "durable_streams:check: the app and the server at #{DurableStreams.server_url} agree"
    end
  end

  namespace :subscriptions do
    desc "Create the subscriptions of all handlers, or confirm them (HANDLER=… for one, REPLACE=1 to replace those that differ)"
    task sync: :environment do
      subscriptions = DurableStreams::Rails::Subscription.all
      subscriptions = subscriptions.select { |subscription| subscription.handler.name == ENV["HANDLER"] } if ENV["HANDLER"].present?
      abort "durable_streams:subscriptions:sync: #{ENV["HANDLER"].presence&.then { |name| "#{name} is not a handler with subscribes_to" } || "no handler has subscribes_to"}" if subscriptions.empty?

      conflicts = subscriptions.filter_map do |subscription|
        puts "#{subscription.id}: #{subscription.sync}, #{subscription.pattern} to #{subscription.handler.name}"
      rescue DurableStreams::SubscriptionConflict => error
        if ENV["REPLACE"].present?
          puts "#{subscription.id}: #{subscription.replace}, #{subscription.pattern} to #{subscription.handler.name}"
        else
          "#{subscription.id}: #{error.message}"
        end
      end
      abort <<~TEXT if conflicts.any?
        #{conflicts.join("\n")}
        A subscription cannot be changed. REPLACE=1 deletes it and creates it again, at the tails of its streams: events that have not been processed yet are skipped.
      TEXT
    rescue DurableStreams::Error => error
      abort "durable_streams:subscriptions:sync: #{error.message}"
    end
  end

  desc "Process the events of handlers that subscribe via: :worker, until SIGTERM"
  task work: :environment do
    worker = DurableStreams::Worker.new
    %w[ TERM INT ].each { |signal| trap(signal) { worker.stop } }
    puts "Durable Streams worker #{worker.name} started"
    $stdout.flush
    worker.run
  rescue DurableStreams::Error => error
    abort "durable_streams:work: #{error.message}"
  end
end
