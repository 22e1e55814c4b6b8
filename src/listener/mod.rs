//! Sockets, the limits that protect them from hostile peers, the internal listener's allow-list,
//! and the graceful shutdown.
//!
//! Nothing here knows what is served. An application is any [`HttpService`], such as an
//! `axum::Router`; it finds [`PeerAddr`], [`ListenerKind`] and, on TLS, [`TlsInfo`] in its requests'
//! extensions.
//!
//! A connection is a stack of adapters, from the socket up:
//!
//! | adapter | file | what it adds |
//! |---|---|---|
//! | `WriteTimeout` | `connection/write_timeout.rs` | fails when the peer stops reading; lingers on close |
//! | TLS | `tls/handshake.rs` | optional |
//! | hyper | | HTTP/1.1 or HTTP/2 |
//! | `IdleTimeout` | `connection/idle_timeout.rs` | ends a connection without requests |
//! | `ConnectionService` | `connection/service.rs` | framing rules, facts about the connection |
//! | `MeteredBody` | `response/body.rs` | charges responses to a memory budget |
//! | `StreamProgress` | `response/progress.rs` | resets an HTTP/2 stream that the client does not read |
//!
//! Live responses on HTTP/1.1 leave this stack; `live/mod.rs` explains how and why.

mod accept;
mod bind;
mod config;
mod connection;
mod connection_limit;
mod http_service;
mod keyed_limit;
mod live;
mod peer;
mod refusal;
mod response;
mod server;
mod shared;
mod shutdown;
mod tls;

#[cfg(test)]
mod tests;

pub use bind::Listener;
pub use config::{
    AcmeConfig, ConnectionConfig, HttpVersion, InternalConfig, ServerConfig, TlsConfig, TlsVersion, TransportConfig,
    TransportMode,
};
pub use http_service::HttpService;
pub use keyed_limit::{KeyedLimit, KeyedPermit};
pub use peer::{ListenerKind, PeerAddr, TlsInfo, contains, network};
pub use server::Server;
pub use shutdown::Drained;
pub use tls::{TlsContext, TlsContextError, build_acme_context, build_tls_context, check_tls_files};
