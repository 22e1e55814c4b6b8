//! The commands, one file each. Each writes to what it is given, so that it can be tested.

mod archive;
pub mod check;
pub mod config;
pub mod explain;
pub mod export;
pub mod healthcheck;
pub mod import;
pub mod keys;
pub mod remote;
mod run;
pub mod storage;
pub mod streams;
pub mod token;

pub use run::{Failure, run};

use std::path::PathBuf;

use crate::{config::ConfigLoadOptions, startup::StartupError};

/// Where the configuration is: the same for every command that loads one.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file: TOML, or the Rails form when it ends in .yml or .yaml.
    #[arg(long, global = true, value_name = "PATH", env = "DS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Section of the Rails form. Default: RAILS_ENV, else development.
    #[arg(long, global = true, value_name = "NAME", env = "DS_ENV")]
    pub env: Option<String>,
    /// Profile of the TOML form: default, dev, prod, prod-tls, prod-mtls.
    #[arg(long, global = true, value_name = "NAME", env = "DS_PROFILE")]
    pub profile: Option<String>,
}

impl ConfigArgs {
    /// As the loader takes them, with this process's directory and variables. An empty
    /// variable, as compose files make them, is none.
    #[must_use]
    pub fn options(&self) -> ConfigLoadOptions {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        ConfigLoadOptions {
            config_path: self.config.clone().filter(|path| !path.as_os_str().is_empty()),
            env: given(&self.env),
            profile: given(&self.profile),
            ..ConfigLoadOptions::default()
        }
    }
}

/// Why a command failed. The text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Something given on the command line cannot be used.
    #[error("{0}")]
    Usage(String),
    /// Something in the configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A server did not do what it was asked.
    #[error(transparent)]
    Remote(#[from] remote::RemoteError),
    /// A `storage` command failed.
    #[error(transparent)]
    Storage(#[from] storage::StorageCommandError),
    /// For the reason that a start would fail for.
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// 78 for configuration, 1 for the rest.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 78,
            Self::Startup(error) => error.exit_code(),
            _ => 1,
        }
    }

    /// What a command that only prints comes to: who has closed the pipe has read enough.
    fn or_enough_read(result: Result<(), Self>) -> Result<(), Self> {
        match result {
            Err(Self::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    fn file(path: &std::path::Path, source: std::io::Error) -> Self {
        let path = path.display().to_string();
        Self::File { path, source }
    }
}

#[cfg(test)]
mod tests;
