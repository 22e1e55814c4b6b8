//! Durable Streams over HTTP, behind an ES256 JWT gate.
//!
//! A Durable Stream is an append-only log with a URL. Writers `POST` to it; readers `GET` it from
//! any offset, catch up, and follow it by long-poll or SSE. This crate is the server
//! `durable-streams-server`, and the same protocol as an [`axum::Router`] for applications that
//! have a server of their own.
//!
//! # Embedding
//!
//! Load a [`Config`], open a [`Storage`], and mount [`build_router`]:
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
//! Build one router for each store and clone it: a store has one writer, and one in PostgreSQL one for
//! each server. Hold a [`DirLock`] on a data directory, as the server does, so that no other process opens it. `examples/embed.rs` shows a
//! complete application that stops without losing requests.
//!
//! The protocol, the token rules, limits and caching are this crate's. Listeners, TLS, connection
//! limits and logging are the application's, and the sections of the [`Config`] about them have no
//! effect here.
//!
//! # Backends
//!
//! | backend | an acknowledged append survives |
//! |---|---|
//! | [`InMemoryStorage`] | nothing |
//! | [`FileStorage`], not durable | a crash of the process |
//! | [`FileStorage`], durable | a power failure |
//! | [`AcidStorage`] | a power failure; the index is transactional |
//! | `PostgresStorage` | what the database promises; any number of servers share it |
//!
//! Any other type that implements [`Storage`] serves as well.
//!
//! # Features
//!
//! All are on by default and need not be for embedding:
//!
//! - `cli`: the server as a program. Without it the crate has no command line, allocator or log
//!   subscriber.
//! - `acme`: automatic HTTPS for the program's own listener.
//! - `postgres`: `PostgresStorage`.

// The program's modules have no caller in a library without it. The default build finds dead code.
#![cfg_attr(not(all(feature = "acme", feature = "cli")), allow(dead_code, unused_imports))]

mod auth;
#[cfg(feature = "cli")]
mod cli;
mod clock;
mod config;
#[cfg(feature = "cli")]
mod control;
mod engine;
mod file_watcher;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod handover;
mod http;
mod listener;
mod log_throttle;
mod private_files;
mod problems;
mod protocol;
mod proxy;
mod random;
mod router;
mod routes;
mod settings;
mod signal;
#[cfg(feature = "cli")]
mod startup;
mod storage;
mod subscriptions;
mod telemetry;
mod unix_socket;
mod wakers;
mod webhook;

#[cfg(test)]
#[path = "../tests/support/shared/mod.rs"]
mod test_support;

pub use auth::KeysError;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub use cli::run::run as run_command;
pub use config::{Config, ConfigLoadOptions, LoadError, Loaded, StorageMode};
pub use listener::PeerAddr;
pub use protocol::{Framing, Lifetime, NameError, Offset, ProducerStamp, RetentionPolicy, StreamName};
pub use router::{EmbedError, build_router, build_router_with_ready};
#[cfg(feature = "postgres")]
pub use storage::postgres::{PostgresOptions, PostgresStorage};
pub use storage::{
    AcidStorage, Change, Changed, CommitError, CopyProgress, DUTY_LEASE, DirLock, Durations, Duty, Expect, Feed,
    FileStorage, Fork, Group, Holder, InMemoryStorage, Inherited, Landed, Life, LockError, MAX_REFRESHED, Mark,
    Position, ProducerState, Progress, Retention, SharedStore, Storage, StorageError, StoreFigures, StoreReport,
    Stored, StreamId, StreamRecord, Usage, Verdict, Verdicts, WriterState,
};
