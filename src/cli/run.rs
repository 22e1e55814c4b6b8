//! The command line as a whole.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use super::{
    check, config,
    config_args::ConfigArgs,
    error::{CliError, Failure},
    explain, export, healthcheck, import, keys, storage, streams, subscriptions, token,
};
use crate::{
    clock::Clock,
    config::{Config, Loaded},
    startup::{self, StartupError},
    telemetry::logs,
};

/// Durable Streams over HTTP: append-only streams behind an ES256 JWT gate.
///
/// Without a command it serves. Pass `--config config/durable_streams.yml --env production` for a
/// Rails application, `--profile prod --config server.toml` for a TOML configuration. Without any
/// configuration it serves an open, in-memory store on port 4437.
#[derive(Debug, Parser)]
#[command(name = "durable-streams-server", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default).
    Serve,
    /// Report everything that is wrong with the configuration, without starting.
    Check,
    /// Print the merged configuration and the origin of each value.
    Config,
    /// Make the key pair that signs and verifies tokens.
    Keys(keys::KeysArgs),
    /// Sign a token, for a client or for an app server.
    Token(token::TokenArgs),
    /// Explain whether a token allows a request, and if not, which rule refuses it.
    Explain(explain::ExplainArgs),
    /// Ask the running server whether it is up. Exit 0 if it is.
    Healthcheck(healthcheck::HealthcheckArgs),
    Storage(storage::StorageArgs),
    /// List, show and delete the streams of a running server.
    Streams(streams::StreamsArgs),
    /// List, show, create, delete, pause and resume the subscriptions of a running server.
    Subscriptions(subscriptions::SubscriptionsArgs),
    /// Write streams of a running server as JSON lines.
    Export(export::ExportArgs),
    /// Create streams on a running server from the output of `export`.
    Import(import::ImportArgs),
}

/// Runs the command line. Returns the exit code.
///
/// # Errors
/// The text for standard error and the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<u8, Failure> {
    let out = &mut std::io::stdout();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // Help and version are errors to clap, but not to people.
        Err(help) if !help.use_stderr() => {
            // In colour only on a terminal. The pipe may be closed; ignore.
            let _ = help.print();
            return Ok(0);
        }
        Err(error) => {
            return Err(Failure {
                text: error.render().to_string().trim_end().to_owned(),
                code: 2,
            });
        }
    };
    let options = cli.config.options();
    let clock = Clock::system();
    let load = || Config::load(&options).map_err(StartupError::from);
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(load()?).map(|()| 0),
        Command::Check => Ok(check::run(&options, out).map(|()| 0)?),
        Command::Config => Ok(config::run(&options, out).map(|()| 0)?),
        Command::Keys(args) => Ok(keys::run(&args, out).map(|()| 0)?),
        Command::Token(args) => {
            // Works without a configuration.
            let loaded = load().ok();
            Ok(token::run(
                &args,
                loaded.as_ref().and_then(|loaded| loaded.config.auth.as_ref()),
                &clock,
                out,
            )
            .map(|()| 0)?)
        }
        Command::Explain(args) => match explain::run(&args, &load()?.config, out)? {
            explain::Verdict::Allowed => Ok(0),
            explain::Verdict::Refused => Ok(1),
        },
        Command::Storage(args) => Ok(storage::run(&args, &options, out)?),
        Command::Healthcheck(args) => Ok(block_on(healthcheck::run(&args, || Ok(load()?.config), out)).map(|()| 0)?),
        Command::Streams(args) => {
            let remote = args.remote().remote(&clock, || Ok(load()?.config))?;
            Ok(block_on(streams::run(&args, &remote, out)).map(|()| 0)?)
        }
        Command::Subscriptions(args) => {
            let remote = args.remote().remote(&clock, || Ok(load()?.config))?;
            Ok(block_on(subscriptions::run(&args, &remote, out)).map(|()| 0)?)
        }
        Command::Export(args) => {
            let remote = args.remote.remote(&clock, || Ok(load()?.config))?;
            Ok(block_on(export::run(&args, &remote, out)).map(|()| 0)?)
        }
        Command::Import(args) => {
            let remote = args.remote.remote(&clock, || Ok(load()?.config))?;
            Ok(block_on(import::run(&args, &remote, &clock, out)).map(|()| 0)?)
        }
    }
}

/// Runs an asynchronous command.
fn block_on<T>(command: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::Runtime)?;
    runtime.block_on(command)
}

fn serve(loaded: Loaded) -> Result<(), Failure> {
    let failed = |text: String| Failure { text, code: 1 };
    logs::init(&loaded.config.observability).map_err(|error| failed(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("worker")
        .build();
    let runtime = runtime.map_err(CliError::Runtime)?;
    let served = runtime.block_on(startup::serve(loaded));
    // Don't wait for leftover tasks.
    runtime.shutdown_background();
    Ok(served?)
}
