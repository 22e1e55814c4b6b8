//! Logs and metrics.

mod config;
#[cfg(feature = "cli")]
pub mod logs;
mod metrics;

pub use config::{LogFormat, ObservabilityConfig};
pub use metrics::Metrics;
