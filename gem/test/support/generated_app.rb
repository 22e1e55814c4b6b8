# frozen_string_literal: true

require "open3"
require "tmpdir"
require "fileutils"

# An application made by `rails new`, in a directory of its own.
class GeneratedApp
  GEM_ROOT = File.expand_path("../..", __dir__)

  GEMS = { "rails" => ENV["RAILS_PATH"], "sqlite3" => nil, "puma" => nil, "durable_streams-rails" => GEM_ROOT }.freeze

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
    new_app
    write "Gemfile", GEMS.map { |name, path| "gem #{name.inspect}#{", path: #{path.inspect}" if path}" }
      .unshift("source \"https://rubygems.org\"").join("\n")
  end

  def run(*command, env: {}, directory: @root, input: "", expect_success: true)
    run_in(directory, *command, env: env, input: input, expect_success: expect_success)
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
    # By the Rails of the tests' own bundle.
    def new_app
      command = [ "bundle", "exec", "rails", "new", "blog", "--skip-bundle", "--skip-git", "--skip-asset-pipeline", "--skip-javascript",
        "--skip-rubocop", "--skip-brakeman", "--skip-bootsnap", "--skip-ci", "--quiet", *@options ]
      capture(command, directory: @directory)
    end

    def run_in(directory, *command, **options)
      unbundled { capture(command, directory: directory, **options) }
    end

    def capture(command, directory:, env: {}, input: "", expect_success: true)
      output, status = clean { Open3.capture2e(env, *command, chdir: directory, stdin_data: input) }
      raise "#{command.join(" ")} #{status}\n#{output}" if expect_success && !status.success?
      output
    end

    def unbundled(&block)
      Bundler.with_unbundled_env { clean(&block) }
    end

    def clean
      before = %w[ RAILS_ENV RACK_ENV CI DURABLE_STREAMS_BINARY DURABLE_STREAMS_VERSION DURABLE_STREAMS_CONFIG DURABLE_STREAMS_PORT ].to_h { |name| [ name, ENV.delete(name) ] }
      yield
    ensure
      ENV.update(before.compact)
    end
end
