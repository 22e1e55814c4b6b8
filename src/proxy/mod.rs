//! Who the client really is, when proxies stand between.
//!
//! A forwarding header is a claim of whoever sent it. It is believed only from a TCP peer in
//! `proxy.trusted_proxies`, only in the one form that is configured, and read from the right,
//! where the nearest proxy wrote, up to the first address that is not a trusted proxy's. What
//! is believed becomes an [`Origin`]; the headers themselves go no further, whoever sent them.

mod config;
mod forwarded;
mod identity;
mod origin;
mod trust;
mod x_forwarded;

#[cfg(test)]
mod tests;

pub use config::{ForwardedHeaders, IdentityConfig, IdentityMode, ProxyConfig};
pub use identity::ProxyIdentity;
pub use origin::{Host, Origin, Scheme};
pub(crate) use trust::is_forwarding;
pub use trust::{ProxyTrust, Trusted};

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::listener::contains;

/// What a chain of proxies says of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Claims {
    client_ip: Option<IpAddr>,
    scheme: Option<Scheme>,
    host: Option<Host>,
}

/// A header that does not follow its grammar where it matters: none of it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Malformed;

/// A hop of a chain, as the proxy after it named it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Address(IpAddr),
    /// `unknown`, or a name of the proxy's own making (RFC 7239, section 6).
    Hidden,
}

/// Where reading from the right stops: the place (counted from the right) of the first hop that
/// is no trusted proxy, and the last address on the way there. `None` for an empty chain.
fn outermost(
    hops: impl Iterator<Item = Result<Node, Malformed>>,
    trusted: &[IpNet],
) -> Result<Option<(usize, Option<IpAddr>)>, Malformed> {
    let mut found = None;
    let mut address = None;
    for (place, hop) in hops.enumerate() {
        match hop? {
            Node::Address(ip) => {
                address = Some(ip);
                found = Some((place, address));
                if !contains(trusted, ip) {
                    break;
                }
            }
            // Somebody's client, whose address we are not told: the proxy before it stands in.
            Node::Hidden => {
                found = Some((place, address));
                break;
            }
        }
    }
    Ok(found)
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:80`.
fn address(text: &str) -> Result<IpAddr, Malformed> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(bracketed)
        .map(|ip| ip.to_canonical())
        .ok_or(Malformed)
}
