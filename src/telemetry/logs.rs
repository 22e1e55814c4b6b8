//! Logs, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{
    EnvFilter, fmt,
    util::{SubscriberInitExt, TryInitError},
};

use crate::config::{LogFormat, ObservabilityConfig};

/// Starts logging. An invalid filter is reported and replaced by `info`.
///
/// # Errors
/// The process has a logger already.
pub fn init(config: &ObservabilityConfig) -> Result<(), TryInitError> {
    let (filter, invalid) = match EnvFilter::try_new(&config.rust_log) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let logs = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Console => logs.with_ansi(std::io::stderr().is_terminal()).finish().try_init()?,
        LogFormat::Json => logs
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .finish()
            .try_init()?,
    }
    if let Some(error) = invalid {
        tracing::warn!(filter = config.rust_log, %error, "observability.rust_log is not a valid filter; logging at info");
    }
    Ok(())
}
