//! The commands, one file each.

pub mod check;
pub mod config;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use crate::{config::ConfigLoadOptions, startup::StartupError};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// For the reason that a start would fail for.
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// Its output could not be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl CommandError {
    /// What the process exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Startup(error) => error.exit_code(),
            Self::Output(_) => 1,
        }
    }
}

/// Where the configuration is: the same for every command that loads one.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file: TOML, or the Rails form when it ends in .yml or .yaml.
    #[arg(long, value_name = "PATH", env = "DS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Section of the Rails form. Default: RAILS_ENV, else development.
    #[arg(long, value_name = "NAME", env = "DS_ENV")]
    pub env: Option<String>,
    /// Profile of the TOML form: default, dev, prod, prod-tls, prod-mtls.
    #[arg(long, value_name = "NAME", env = "DS_PROFILE")]
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
