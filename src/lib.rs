//! Durable Streams over HTTP, behind an ES256 JWT gate.

pub mod clock;
pub mod config;
pub mod listener;
pub mod protocol;
pub mod proxy;
pub mod storage;

pub use config::Config;
