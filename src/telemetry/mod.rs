//! Logs and metrics.

mod config;
#[cfg(feature = "cli")]
pub mod logs;
mod metrics;
mod registered;
mod requests;
mod shared_store;
mod subscriptions;

pub use config::{LogFormat, ObservabilityConfig};
pub use metrics::Metrics;
pub use shared_store::SharedStoreState;
pub use subscriptions::SubscriptionMetrics;
