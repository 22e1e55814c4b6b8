//! Durable Streams over HTTP, behind an ES256 JWT gate.

pub mod cli;
pub mod clock;
pub mod config;
pub mod protocol;
pub mod startup;
pub mod storage;

pub use config::{Config, ConfigLoadOptions};
