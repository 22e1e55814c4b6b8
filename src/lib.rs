//! Durable Streams over HTTP, behind an ES256 JWT gate.

pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod gate;
pub mod http;
pub mod listener;
pub mod protocol;
pub mod proxy;
pub mod startup;
pub mod storage;
pub mod telemetry;

mod router;

#[cfg(test)]
mod test_support;

pub use config::{Config, ConfigLoadOptions};
pub use router::{EmbedError, build_router, build_router_with_ready};
pub use storage::{acid::AcidStorage, file::FileStorage, memory::InMemoryStorage};
