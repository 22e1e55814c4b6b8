//! The messages of the handover socket.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The version of the handover: of the messages here, and of what either side expects of the other.
/// A server that knows another one refuses, and its successor waits until it has stopped.
pub(crate) const VERSION: u32 = 1;

/// The first line of a connection.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Opening {
    /// A request follows, from this client.
    Request(Client),
    /// Reads bytes of the store.
    Read { id: u64, start: u64, end: u64 },
    /// Asks whether a stream is still the one with this id and has its bytes from a position on.
    Current { name: String, id: u64, from: u64 },
}

/// The client of a request, as the former holder's listener and proxy rules see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Client {
    /// The TCP peer.
    pub peer: Option<SocketAddr>,
    /// The peer came by the internal listener.
    pub internal: bool,
    pub tls: Option<Tls>,
    /// The scheme, the host and the address of the client are the proxy's, if it is trusted.
    pub https: bool,
    pub host: Option<String>,
    pub address: Option<IpAddr>,
}

/// The result of a TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tls {
    pub client_cert: bool,
    pub http2: bool,
}

/// The answer to anything but a request.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// So many bytes follow.
    Bytes(u64),
    Current(bool),
    Failed(String),
}
