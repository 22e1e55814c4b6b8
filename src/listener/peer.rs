//! The peer of a connection, and how addresses are compared.

use std::net::{IpAddr, SocketAddr};

use http::Extensions;
use ipnet::IpNet;

/// The TCP peer of a connection, as an extension of each of its requests. It may be a proxy.
/// IPv4-mapped IPv6 addresses become IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// The listener of a connection, as an extension of each of its requests, except for the public
/// one, whose requests go without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// For browsers and other clients.
    Public,
    /// Plain HTTP for the app servers on the allow-list.
    Internal,
}

impl ListenerKind {
    /// The listener of a request.
    #[must_use]
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self::Public)
    }
}

/// The result of the TLS handshake, as an extension of each request on a TLS connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsInfo {
    /// The peer has presented a certificate that the client CA has signed.
    pub client_cert: bool,
    /// HTTP/2 was negotiated.
    pub http2: bool,
}

/// Turns an IPv4-mapped IPv6 address into an IPv4 address.
pub(super) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Whether `ip` lies in one of `nets`. IPv4-mapped addresses count as IPv4 on either side.
#[must_use]
pub fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    nets.iter().any(|net| match (net, ip) {
        (IpNet::V6(net), IpAddr::V4(ip)) => net.contains(&ip.to_ipv6_mapped()),
        (net, ip) => net.contains(&ip),
    })
}

/// The network that counts as one client: an IPv4 address, or an IPv6 /64, whose addresses a client
/// can choose freely.
#[must_use]
pub fn network(address: IpAddr) -> u64 {
    /// No IPv6 unicast address has this prefix.
    const IPV4: u64 = 0xffff_ffff_0000_0000;
    match address.to_canonical() {
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_its_network() {
        let same = |one: &str, other: &str| network(one.parse().unwrap()) == network(other.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:0:0:2"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
    }
}
