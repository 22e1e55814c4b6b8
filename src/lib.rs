//! Durable Streams over HTTP, behind an ES256 JWT gate.
//!
//! The crate is the server `durable-streams-server` and, for those who have an axum application
//! of their own, what it is made of: load a [`Config`], choose a backend, and mount
//! [`build_router`].
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use axum::{Router, routing::get};
//! use durable_streams_server::{AcidStorage, Config, ConfigLoadOptions, build_router};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::load(&ConfigLoadOptions::default())?.config;
//! let storage = Arc::new(AcidStorage::open(&config.storage.data_dir, config.storage.cache_bytes)?);
//! let app = Router::new()
//!     .route("/hello", get(|| async { "hello" }))
//!     .merge(build_router(storage, &config)?);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, app).await?;
//! # Ok(())
//! # }
//! ```
//!
//! One store has one router: clone it rather than building two, and let no other process open
//! the same directory ([`storage::lock`] is how the server sees to that).
//!
//! `ARCHITECTURE.md` in the repository follows an append and a live read through the modules.

mod auth;
mod cli;
mod clock;
mod config;
mod control;
mod engine;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod http;
mod listener;
mod private_files;
mod problems;
mod protocol;
mod proxy;
mod random;
mod router;
mod routes;
mod startup;
mod storage;
mod telemetry;

#[cfg(test)]
mod test_support;

#[doc(hidden)]
pub use cli::run as run_command;
pub use config::{Config, ConfigLoadOptions, StorageMode};
pub use listener::PeerAddr;
pub use protocol::{Framing, Lifetime, RetentionPolicy, StreamName};
pub use router::{EmbedError, build_router, build_router_with_ready};
pub use storage::{
    Change, CommitError, Fork, Inherited, Life, Mark, Position, ProducerState, Progress, Retention, Storage,
    StorageError, Stored, StreamId, StreamRecord, Usage, WriterState, acid::AcidStorage, file::FileStorage,
    memory::InMemoryStorage,
};
