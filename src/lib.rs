//! Durable Streams over HTTP, behind an ES256 JWT gate.

pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod gate;
pub mod listener;
pub mod protocol;
pub mod storage;
pub mod telemetry;

pub use config::Config;
pub use storage::{acid::AcidStorage, memory::InMemoryStorage};
#[cfg(test)]
mod test_support;
