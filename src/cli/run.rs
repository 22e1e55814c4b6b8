//! The command line as a whole.

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use super::{CliError, ConfigArgs, check, config, explain, export, healthcheck, import, keys, storage, streams, token};
use crate::{
    config::{Config, Loaded},
    startup::{self, StartupError},
    telemetry::logs,
};

/// Durable Streams over HTTP: append-only streams behind an ES256 JWT gate.
///
/// Without a command it serves. A Rails application's server is started with
/// `--config config/durable_streams.yml --env production`, one with a TOML
/// configuration with `--profile prod --config server.toml`, and one without
/// any configuration serves an open, in-memory store on port 4437.
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
    /// Say everything that is wrong with the configuration, without starting.
    Check,
    /// Print the merged configuration, and where each value comes from.
    Config,
    /// Make the key pair that tokens are signed and verified with.
    Keys(keys::KeysArgs),
    /// Make a token, for a client or for an app server.
    Token(token::TokenArgs),
    /// Say whether a token allows a request, and if not, which rule refuses it.
    Explain(explain::ExplainArgs),
    /// Ask the running server whether it is up; exit 0 if it is.
    Healthcheck(healthcheck::HealthcheckArgs),
    Storage(storage::StorageArgs),
    /// List, show and delete the streams of a running server.
    Streams(streams::StreamsArgs),
    /// Write streams of a running server as JSON lines.
    Export(export::ExportArgs),
    /// Create streams on a running server from what `export` wrote.
    Import(import::ImportArgs),
}

/// A failed command, as the process reports it.
#[derive(Debug)]
pub struct Failure {
    /// For the person at the terminal.
    pub text: String,
    /// For the program that started this one.
    pub code: u8,
}

impl From<StartupError> for Failure {
    fn from(error: StartupError) -> Self {
        Self {
            code: error.exit_code(),
            text: error.to_string(),
        }
    }
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        // A failed start says its phase; the others say who speaks.
        let text = match &error {
            CliError::Startup(error) => error.to_string(),
            error => format!("durable-streams-server: {error}"),
        };
        Self {
            code: error.exit_code(),
            text,
        }
    }
}

/// Runs the command line. Answers the exit code.
///
/// # Errors
/// What to print to standard error, and the exit code that goes with it.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<u8, Failure> {
    let out = &mut std::io::stdout();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // Help and version are errors to clap, but not to people.
        Err(help) if !help.use_stderr() => {
            // In colour on a terminal only. Who has closed the pipe has read enough.
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
    let load = || Config::load(&options).map_err(StartupError::from);
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => serve(load()?).map(|()| 0),
        Command::Check => Ok(check::run(&options, out).map(|()| 0)?),
        Command::Config => Ok(config::run(&options, out).map(|()| 0)?),
        Command::Keys(args) => Ok(keys::run(&args, out).map(|()| 0)?),
        Command::Token(args) => {
            // A token can be made where no configuration is.
            let loaded = load().ok();
            Ok(token::run(
                &args,
                loaded.as_ref().and_then(|loaded| loaded.config.auth.as_ref()),
                out,
            )
            .map(|()| 0)?)
        }
        Command::Explain(args) => match explain::run(&args, &load()?.config, out)? {
            explain::Verdict::Allowed => Ok(0),
            explain::Verdict::Refused => Ok(1),
        },
        Command::Storage(args) => Ok(storage::run(&args, &options, out)?),
        Command::Healthcheck(args) => Ok(healthcheck::run(&args, || Ok(load()?.config), out).map(|()| 0)?),
        Command::Streams(args) => {
            let remote = args.remote().remote(|| Ok(load()?.config))?;
            Ok(block_on(streams::run(&args, &remote, out)).map(|()| 0)?)
        }
        Command::Export(args) => {
            let remote = args.remote.remote(|| Ok(load()?.config))?;
            Ok(block_on(export::run(&args, &remote, out)).map(|()| 0)?)
        }
        Command::Import(args) => {
            let remote = args.remote.remote(|| Ok(load()?.config))?;
            Ok(block_on(import::run(&args, &remote, out)).map(|()| 0)?)
        }
    }
}

/// Runs a command that asks a server.
fn block_on<T>(command: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Usage(format!("the runtime could not be started: {error}")))?;
    runtime.block_on(command)
}

fn serve(loaded: Loaded) -> Result<(), Failure> {
    let failed = |text: String| Failure { text, code: 1 };
    logs::init(&loaded.config.observability).map_err(|error| failed(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("worker")
        .build();
    let runtime = runtime.map_err(|error| failed(format!("the runtime could not be started: {error}")))?;
    let served = runtime.block_on(startup::serve(loaded));
    // What was not done by now is not waited for.
    runtime.shutdown_background();
    Ok(served?)
}
