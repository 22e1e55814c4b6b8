//! What operators see: logs and metrics.

mod config;
pub mod logs;
mod metrics;
mod seldom;

pub use config::{LogFormat, ObservabilityConfig};
pub use metrics::Metrics;
pub use seldom::Seldom;
