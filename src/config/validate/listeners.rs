//! The internal listener, and the trusted proxies.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Checker;
use crate::{
    listener::TransportMode,
    proxy::{ForwardedHeaders, IdentityMode},
};

impl Checker<'_> {
    pub(super) fn proxy(&mut self) {
        let proxy = &self.config.proxy;
        if !proxy.enabled {
            return;
        }
        if proxy.trusted_proxies.is_empty() {
            let message = "proxy.enabled = true needs proxy.trusted_proxies: the addresses of the proxies to trust";
            self.fail(&["proxy.enabled", "proxy.trusted_proxies"], message);
        }
        if proxy.forwarded_headers == ForwardedHeaders::None && proxy.identity.mode == IdentityMode::None {
            let message = "proxy.enabled = true, but nothing is taken from the proxy: \
                           set proxy.forwarded_headers to \"x-forwarded\" or \"forwarded\"";
            self.fail(&["proxy.enabled", "proxy.forwarded_headers"], message);
        }
        if proxy.trusted_proxies.iter().any(|net| net.prefix_len() == 0) {
            self.warn(&["proxy.trusted_proxies"], "every peer is trusted as a proxy");
        }
    }

    pub(super) fn identity(&mut self) {
        const MODE: &str = "proxy.identity.mode";
        let (proxy, identity) = (&self.config.proxy, &self.config.proxy.identity);
        if identity.mode == IdentityMode::None {
            return;
        }
        if self.config.transport.mode != TransportMode::Mtls {
            let message = "\"header\" needs transport.mode = \"mtls\": without it anyone could send the header";
            self.fail(&[MODE, "transport.mode"], message);
        }
        if !proxy.enabled {
            self.fail(&[MODE, "proxy.enabled"], "\"header\" needs proxy.enabled = true");
        }
        match &identity.header_name {
            None => {
                let message = "\"header\" needs proxy.identity.header_name";
                self.fail(&[MODE, "proxy.identity.header_name"], message);
            }
            Some(name) if http::HeaderName::from_bytes(name.as_bytes()).is_err() => {
                self.fail(&["proxy.identity.header_name"], "is not a header name");
            }
            Some(_) => {}
        }
    }

    pub(super) fn internal(&mut self) {
        let Some(internal) = &self.config.internal else {
            return;
        };
        if internal.allowed_ips.is_empty() {
            let keys = ["internal.allowed_ips", "internal.port", "internal.bind"];
            let message = "the internal listener needs internal.allowed_ips: \
                           the addresses of the app servers, such as [\"10.0.0.4\"]";
            self.fail(&keys, message);
        }
        if internal.allowed_ips.iter().any(|net| net.prefix_len() == 0) {
            self.warn(
                &["internal.allowed_ips"],
                "every peer may connect to the internal listener",
            );
        }
        if let Some(remote) = internal.allowed_ips.iter().find(|net| !reaches(internal.bind, net)) {
            let message = format!(
                "the internal listener is on {}, which {remote} cannot reach: set internal.bind to this machine's \
                 address in that network",
                internal.bind
            );
            self.warn(&["internal.allowed_ips"], message);
        }
        let public = self.config.server.bind_address;
        if collide(public, internal.address()) {
            let message = format!(
                "the internal listener ({}) and the public one ({public}) want the same port",
                internal.address()
            );
            let keys = ["internal.port", "internal.bind", "server.bind_address"];
            self.fail(&keys, message);
        }
    }
}

/// Whether a peer in `net` can reach a listener on `bind`: only this machine reaches a loopback
/// address.
fn reaches(bind: IpAddr, net: &IpNet) -> bool {
    !bind.to_canonical().is_loopback() || net.addr().to_canonical().is_loopback() || net.contains(&bind)
}

/// Whether both cannot be bound at once; port 0 is any free port.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let covers = |a: SocketAddr, b: SocketAddr| a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    let (ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    one.port() != 0 && one.port() == other.port() && (ip == other_ip || covers(one, other) || covers(other, one))
}
