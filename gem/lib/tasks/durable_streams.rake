# frozen_string_literal: true

namespace :durable_streams do
  desc "Make the keys that tokens are signed and checked with (FOR=production for a deployed app, KID=… for a second key)"
  task :generate_keys do
    require "durable_streams/rails"
    kid = ENV["KID"].presence
    abort "KID is #{kid.inspect}: the name of a file, of letters, digits, dots, dashes and underscores." unless kid.nil? || kid.match?(/\A\w[\w.-]*\z/)

    if ENV["FOR"].present? && %w[ development test ].exclude?(ENV["FOR"])
      pair = DurableStreams::Rails::KeyPair.new(kid: kid)
      if File.exist?(Rails.root.join(pair.deployed_path)) && ENV["FORCE"].blank?
        abort "#{pair.deployed_path} is there and was left alone: tokens may be signed with its private half. KID=#{Date.current} makes a second key, FORCE=1 replaces this one."
      end
      pair.write_deployed(Rails.root)
      puts <<~TEXT
        Wrote #{pair.deployed_path}, the public key. Commit it: the server checks tokens with it.

        Put the private key into the credentials of #{ENV["FOR"]} and nowhere else, with
        bin/rails credentials:edit --environment #{ENV["FOR"]}:

        #{pair.credentials}
      TEXT
    elsif DurableStreams::Rails::KeyPair.ensure_local(Rails.root, force: ENV["FORCE"].present?)
      puts <<~TEXT
        Wrote #{DurableStreams::Rails::KeyPair::LOCAL_SIGNING_KEY} and #{DurableStreams::Rails::KeyPair::LOCAL_VERIFY_KEY}, for this machine: bin/dev is ready.

        For production: bin/rails durable_streams:generate_keys FOR=production
      TEXT
    else
      puts "#{DurableStreams::Rails::KeyPair::LOCAL_SIGNING_KEY} is there and was left alone. FORCE=1 replaces it."
    end
  rescue SystemCallError => error
    abort "durable_streams:generate_keys: #{error.message}"
  end

  desc "Fetch the server into bin/dist (DURABLE_STREAMS_VERSION for another version)"
  task :download do
    require "durable_streams/rails"
    DurableStreams::Rails::ServerBinary.new(root: Rails.root).download
  rescue DurableStreams::Rails::ServerBinary::Error => error
    abort "durable_streams:download: #{error.message}"
  end

  desc "Check that the app and its server agree"
  task check: :environment do
    checkup = DurableStreams::Rails::Checkup.new(Rails.application)
    problems = checkup.problems
    checkup.notes.each { |note| puts "durable_streams:check: #{note}" }
    if problems.any?
      abort problems.map { |problem| "durable_streams:check: #{problem}" }.join("\n")
    else
      puts "durable_streams:check: the app and the server at #{DurableStreams.server_url} agree"
    end
  end
end
