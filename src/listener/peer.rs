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
