//! Durable Streams over HTTP, behind an ES256 JWT gate.

pub mod auth;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gate;
pub mod protocol;
pub mod storage;

pub use config::Config;

#[cfg(test)]
mod test_support;
