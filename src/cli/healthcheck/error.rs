//! Why a health check fails.

use std::net::SocketAddr;

/// Why a health check fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HealthcheckError {
    /// Only TLS listeners are configured.
    #[error("healthcheck: the public listener speaks TLS and there is no internal listener to ask; give --address")]
    NoPlainListener,
    /// The server did not answer in time.
    #[error("healthcheck: {address} does not answer: {cause}")]
    NoAnswer {
        /// The address.
        address: SocketAddr,
        /// The innermost cause.
        cause: String,
        /// The client's error.
        source: reqwest::Error,
    },
    /// The server answered with another status than 200.
    #[error("healthcheck: {address} answered {status}")]
    Unhealthy {
        /// The address.
        address: SocketAddr,
        /// The status.
        status: http::StatusCode,
    },
}
