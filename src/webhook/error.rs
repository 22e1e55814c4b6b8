//! Why a delivery did not succeed.

use std::{io, net::SocketAddr, time::Duration};

use http::StatusCode;

use super::AddressError;

/// Why a delivery failed. Repeat it after a backoff.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The host has no address.
    #[error("the host name cannot be resolved")]
    Resolve(#[source] Option<io::Error>),
    /// All addresses of the host are refused.
    #[error("the receiver {0}")]
    Refused(#[from] AddressError),
    /// No address accepts connections.
    #[error("cannot connect to {address}")]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The receiver closed the connection, or its response is not HTTP.
    #[error("the HTTP exchange failed")]
    Http(#[source] hyper::Error),
    /// The response is not complete in time.
    #[error("no complete response within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The receiver refused. Redirects are not followed, because they lead to unchecked receivers.
    #[error("the receiver answered {0}")]
    Status(StatusCode),
    /// A defect of this server.
    #[error("the request cannot be built")]
    Request(#[source] http::Error),
}

impl DeliveryError {
    /// Its kind, for metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Resolve(_) => "resolve",
            Self::Refused(_) => "refused",
            Self::Connect { .. } => "connect",
            Self::Tls(_) => "tls",
            Self::Http(_) | Self::Request(_) => "http",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
        }
    }
}
