use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use super::schema::section;

/// `[internal]`: the plain-HTTP listener for the app servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalConfig {
    /// `internal.bind`: the address to listen on. Default `127.0.0.1`.
    pub bind: IpAddr,
    /// `internal.port`. Default 4438.
    pub port: u16,
    /// `internal.allowed_ips`: addresses or CIDR blocks of the peers that may connect.
    /// Required and not empty; compared with the TCP peer, never with a header.
    pub allowed_ips: Vec<IpNet>,
}

impl InternalConfig {
    /// The address to listen on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.port)
    }
}

impl Default for InternalConfig {
    fn default() -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 4438,
            allowed_ips: Vec::new(),
        }
    }
}

section!(InternalConfig {
    bind,
    port,
    allowed_ips,
});
