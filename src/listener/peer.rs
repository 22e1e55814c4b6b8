//! The peer of a connection, and how addresses are compared.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The TCP peer of a connection, as an extension of each of its requests. IPv4-mapped IPv6
/// addresses are given as IPv4. It is the neighbour on the wire, which may be a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Which listener a connection came in by, as an extension of each of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// For browsers and everyone else.
    Public,
    /// Plain HTTP for the app servers on the allow-list.
    Internal,
}

/// What TLS found out about a connection, as an extension of each of its requests; absent on
/// plain connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsInfo {
    /// The peer showed a certificate that our client CA signed.
    pub client_cert: bool,
    /// `h2` was agreed on.
    pub http2: bool,
}

/// Reads an IPv4-mapped IPv6 address as the IPv4 address that it is.
pub(super) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// Whether `ip` lies in one of `nets`, an IPv4-mapped address counting as IPv4 on either side.
#[must_use]
pub fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    nets.iter().any(|net| match (net, ip) {
        (IpNet::V6(net), IpAddr::V4(ip)) => net.contains(&ip.to_ipv6_mapped()),
        (net, ip) => net.contains(&ip),
    })
}

/// The network that counts as one client: an IPv4 address, or the /64 that an IPv6 client can
/// choose its addresses from.
#[must_use]
pub fn network(address: IpAddr) -> u64 {
    /// No unicast address of IPv6 begins like this.
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
