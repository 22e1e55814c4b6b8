//! The address at which the local server answers without TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{Config, TransportMode};

/// The public listener or, where that speaks TLS, the internal one.
pub(super) fn plain_listener(config: &Config) -> Option<SocketAddr> {
    if config.transport.mode == TransportMode::Http {
        return Some(reachable(config.server.bind_address));
    }
    let internal = config.internal.as_ref();
    internal.map(|internal| reachable(internal.address()))
}

/// A listener on all addresses is reached at the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
