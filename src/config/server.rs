use std::net::SocketAddr;

use super::schema::section;

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// `server.bind_address`: where the public listener listens. Default `0.0.0.0:4437`
    /// (the port of section 13.1 of the protocol).
    pub bind_address: SocketAddr,
    /// `server.drain_timeout_secs`: how long a stop waits for requests under way. Default 20.
    pub drain_timeout_secs: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            bind_address: SocketAddr::from(([0, 0, 0, 0], 4437)),
            drain_timeout_secs: 20,
        }
    }
}

section!(ServerConfig {
    bind_address,
    drain_timeout_secs,
});
