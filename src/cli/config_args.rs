//! The arguments that locate the configuration.

use std::path::PathBuf;

use crate::config::ConfigLoadOptions;

/// The location of the configuration.
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
    /// The loader's options, with this process's directory and variables. Empty variables, which
    /// compose files make, count as unset.
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
