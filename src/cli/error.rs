//! Why a command fails, and what the process reports then.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    count::StreamCount, healthcheck::error::HealthcheckError, import::error::ImportError, remote::error::RemoteError,
    signing::SigningKeyError, storage::error::StorageCommandError,
};
use crate::{protocol::StreamName, startup::StartupError};

/// Why a command failed. The text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// An argument, or the state that it names, does not allow the command.
    #[error("{0}")]
    Usage(String),
    /// A configured value cannot be used.
    #[error("{0}")]
    Config(String),
    /// A file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A private key cannot sign.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    /// The system gave no randomness.
    #[error("cannot generate a key pair: the system provides no randomness")]
    KeyGeneration,
    /// A server did not answer, or refused.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A stream that was named does not exist.
    #[error("there is no stream {:?}", .0.as_str())]
    NoSuchStream(StreamName),
    /// A stream lost data while it was exported.
    #[error(
        "the stream {:?} was deleted, expired or trimmed by retention while it was exported; export again",
        .0.as_str()
    )]
    ChangedDuringExport(StreamName),
    /// Some streams were not deleted; each was reported.
    #[error("{deleted} deleted, {failed} not, as reported above")]
    NotAllDeleted {
        /// Deleted streams, in words.
        deleted: StreamCount,
        /// The number of the others.
        failed: u64,
    },
    /// Some subscriptions were not changed; each was reported.
    #[error("{changed} {made}, {failed} not, as reported above")]
    NotAllChanged {
        /// The change, as a participle.
        made: &'static str,
        /// Changed subscriptions.
        changed: usize,
        /// The number of the others.
        failed: usize,
    },
    /// An import cannot go on.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The server is not healthy.
    #[error(transparent)]
    Healthcheck(#[from] HealthcheckError),
    /// The server did not start, or a command found what would keep it from starting.
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// A `storage` command failed.
    #[error(transparent)]
    Storage(#[from] StorageCommandError),
    /// The async runtime did not start.
    #[error("the runtime could not be started: {0}")]
    Runtime(#[source] io::Error),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// 78 for configuration, 1 for everything else.
    #[must_use]
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Startup(error) => error.exit_code(),
            _ => 1,
        }
    }

    /// The result of a command that only prints: a reader that closed the pipe has read enough.
    pub(super) fn ignore_broken_pipe(result: Result<(), Self>) -> Result<(), Self> {
        match result {
            Err(Self::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    pub(super) fn file(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::File { path, source }
    }
}

/// A failed command, as the process reports it.
#[derive(Debug)]
pub struct Failure {
    /// For the person at the terminal.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl From<StartupError> for Failure {
    fn from(error: StartupError) -> Self {
        CliError::from(error).into()
    }
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        // These begin with the phase or the command; all others with the program's name.
        let text = match &error {
            CliError::Startup(_) | CliError::Healthcheck(_) => error.to_string(),
            _ => format!("durable-streams-server: {error}"),
        };
        Self {
            code: error.exit_code(),
            text,
        }
    }
}
