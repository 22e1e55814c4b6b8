//! Logs, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

use super::{LogFormat, ObservabilityConfig};

/// Starts to log. A filter that cannot be read is reported and taken as `info`.
///
/// # Errors
/// When something logs in this process already.
pub fn init(config: &ObservabilityConfig) -> Result<(), tracing_subscriber::util::TryInitError> {
    use tracing_subscriber::util::SubscriberInitExt;
    let (filter, refused) = match EnvFilter::try_new(&config.rust_log) {
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
    if let Some(error) = refused {
        tracing::warn!(filter = config.rust_log, %error, "observability.rust_log is not a filter; logging at info");
    }
    Ok(())
}
