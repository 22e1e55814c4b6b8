//! `config`: the merged configuration, each value with where it came from.

use std::io::Write;

use crate::{
    cli::error::CliError,
    config::{Config, ConfigLoadOptions},
    startup::StartupError,
};

/// Prints the configuration as TOML, secrets masked.
///
/// # Errors
///
/// When there is no valid configuration, with everything that is wrong; when `out` cannot be
/// written to.
pub fn run(options: &ConfigLoadOptions, out: &mut dyn Write) -> Result<(), CliError> {
    let loaded = Config::load(options).map_err(StartupError::from)?;
    let warnings = loaded
        .warnings
        .iter()
        .map(|warning| format!("# warning: {warning}\n"))
        .collect::<String>();
    let separator = if warnings.is_empty() { "" } else { "\n" };
    write!(out, "{warnings}{separator}{}", loaded.to_toml())?;
    Ok(())
}
