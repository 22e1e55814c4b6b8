//! What operators see: logs and metrics.

mod metrics;

pub use metrics::Metrics;
