//! The chain of proxies between the client and this server.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::origin::{Host, Malformed, Scheme};
use crate::listener::contains;

/// A chain of proxies' claims about a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Claims {
    pub(super) client_ip: Option<IpAddr>,
    pub(super) scheme: Option<Scheme>,
    pub(super) host: Option<Host>,
}

/// A hop of the chain, as named by the proxy after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    Address(IpAddr),
    /// `unknown`, or an obfuscated name (RFC 7239, section 6).
    Hidden,
}

/// Reads the chain from its nearest hop to the first one that is not a trusted proxy: its index, and
/// the last address on the way. `None` for an empty chain.
pub(super) fn first_untrusted(
    hops: impl Iterator<Item = Result<Hop, Malformed>>,
    trusted: &[IpNet],
) -> Result<Option<(usize, Option<IpAddr>)>, Malformed> {
    let mut found = None;
    let mut address = None;
    for (index, hop) in hops.enumerate() {
        match hop? {
            Hop::Address(ip) => {
                address = Some(ip);
                found = Some((index, address));
                if !contains(trusted, ip) {
                    break;
                }
            }
            // The client's address is withheld, so the proxy before it stands in.
            Hop::Hidden => {
                found = Some((index, address));
                break;
            }
        }
    }
    Ok(found)
}

/// Parses an address with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:80`.
pub(super) fn address(text: &str) -> Result<IpAddr, Malformed> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(bracketed)
        .map(|ip| ip.to_canonical())
        .ok_or(Malformed)
}
