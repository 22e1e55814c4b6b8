# frozen_string_literal: true

require "open3"
require "tmpdir"
require "fileutils"

# An application made by `rails new`, in a directory of its own.
class GeneratedApp
  GEM_ROOT = File.expand_path("../..", __dir__)

  GEMS = { "rails" => nil, "sqlite3" => nil, "puma" => nil, "durable_streams-rails" => { path: GEM_ROOT } }.freeze

  attr_reader :root

  def self.create(*options)
    new(*options).tap(&:build)
  end

  def initialize(*options)
    @options = options
    @directory = Dir.mktmpdir("durable-streams-app")
    @root = File.join(@directory, "blog")
  end

  def build
    run_in(@directory, "rails", "new", "blog", "--skip-bundle", "--skip-git", "--skip-asset-pipeline", "--skip-javascript",
      "--skip-rubocop", "--skip-brakeman", "--skip-bootsnap", "--quiet", *@options)
    write "Gemfile", GEMS.map { |name, options| "gem #{name.inspect}#{", path: #{options[:path].inspect}" if options}" }
      .unshift("source \"https://rubygems.org\"").join("\n")
  end

  def run(*command, env: {}, directory: @root, expect_success: true)
    run_in(directory, *command, env: env, expect_success: expect_success)
  end

  # What the expression prints in the app.
  def evaluate(code, env: {})
    run("bin/rails", "runner", code, env: env).lines.reject { |line| line.start_with?("DEBUG") }.join.strip
  end

  def spawn(*command, env: {}, out: File::NULL)
    unbundled { Process.spawn(env, *command, chdir: @root, out: out, err: [ :child, :out ], pgroup: true) }
  end

  def write(path, content)
    FileUtils.mkdir_p File.dirname(expand(path))
    File.write(expand(path), content)
  end

  def read(path)
    File.read(expand(path))
  end

  def exist?(path)
    File.exist?(expand(path))
  end

  def expand(path)
    File.join(@root, path)
  end

  # Every file with its content and mode, to see whether something changed.
  def snapshot
    Dir.glob("**/*", File::FNM_DOTMATCH, base: @root).reject { |path| path.match?(/\A(log|tmp|storage)\//) || File.directory?(expand(path)) }
      .to_h { |path| [ path, [ File.binread(expand(path)), File.stat(expand(path)).mode ] ] }
  end

  def delete
    FileUtils.rm_rf @directory
  end

  private
    def run_in(directory, *command, env: {}, expect_success: true)
      output, status = unbundled { Open3.capture2e(env, *command, chdir: directory) }
      raise "#{command.join(" ")} #{status}\n#{output}" if expect_success && !status.success?
      output
    end

    def unbundled(&block)
      Bundler.with_unbundled_env do
        clean = %w[ RAILS_ENV RACK_ENV CI DURABLE_STREAMS_BINARY DURABLE_STREAMS_VERSION DURABLE_STREAMS_CONFIG ].to_h { |name| [ name, ENV.delete(name) ] }
        yield
      ensure
        ENV.update(clean.compact)
      end
    end
end
