//! The way in: sockets, the limits that any stranger meets, the internal listener's
//! allow-list, and an orderly stop.
//!
//! Nothing here knows what is served. An application is any service like `axum::Router`; it
//! finds [`PeerAddr`], [`ListenerKind`] and, on TLS, [`TlsInfo`] in its requests' extensions.

mod accept;
mod bind;
mod config;
mod connection;
mod drain;
mod guarded;
mod http2;
mod idle;
mod live;
mod metered;
mod peer;
mod places;
mod refusal;
mod responses;
mod server;
mod service;
mod shares;
mod state;
mod taking;
mod throttle;
mod tls;

#[cfg(test)]
mod tests;

pub use bind::{BindError, Listener};
pub use config::{
    AcmeConfig, ConnectionConfig, HttpVersion, InternalConfig, ServerConfig, TlsConfig, TlsVersion, TransportConfig,
    TransportMode,
};
pub use connection::App;
pub use drain::Drained;
pub use peer::{ListenerKind, PeerAddr, TlsInfo, contains};
pub use server::Server;
pub use shares::{Share, Shares, network};
pub use tls::{TlsContext, TlsContextError, TlsFileError, build_acme_context, build_tls_context, check_tls_files};
