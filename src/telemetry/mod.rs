//! What operators see: logs and metrics.

#[cfg(feature = "cli")]
pub mod logs;
mod metrics;
mod seldom;

pub use metrics::Metrics;
pub use seldom::Seldom;
