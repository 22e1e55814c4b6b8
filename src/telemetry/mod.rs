//! What operators see: logs and metrics.

#[cfg(feature = "cli")]
pub mod logs;
mod metrics;

pub use metrics::Metrics;
