//! Forwarding headers.

use std::net::{IpAddr, SocketAddr};

use ::http::{HeaderName, Request};

use super::header_lines;
use crate::{
    listener::{PeerAddr, TransportMode},
    proxy::{ForwardedHeaders, Origin, ProxyConfig, ProxyTrust},
};

/// A request's head of lines such as `x-forwarded-for: 192.0.2.1`, from a proxy that is trusted
/// and from a stranger.
pub fn forwarding(data: &[u8]) {
    let headers = header_lines(data.split(|byte| *byte == b'\n'));
    let proxy = IpAddr::from([127, 0, 0, 1]);
    let stranger = IpAddr::from([192, 0, 2, 9]);
    for kind in [
        ForwardedHeaders::None,
        ForwardedHeaders::XForwarded,
        ForwardedHeaders::Forwarded,
    ] {
        let config = ProxyConfig {
            enabled: true,
            forwarded_headers: kind,
            trusted_proxies: vec!["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            ..ProxyConfig::default()
        };
        let trust = ProxyTrust::new(&config, TransportMode::Http);
        for peer in [proxy, stranger] {
            let mut request = Request::new(());
            *request.headers_mut() = headers.clone();
            request.extensions_mut().insert(PeerAddr(SocketAddr::new(peer, 1)));
            trust.apply(&mut request);
            assert!(!request.headers().keys().any(forwards), "a forwarding header went on");
            let origin = request.extensions().get::<Origin>().unwrap();
            let client = origin.client_ip.unwrap();
            assert_eq!(client, client.to_canonical());
            assert!(peer == proxy || client == stranger, "a stranger was believed");
            let base_url = origin.base_url(request.uri(), request.headers());
            assert!(!base_url.contains(['\r', '\n', ' ', '/', '@']) || base_url.contains("://"));
        }
    }
}

fn forwards(name: &HeaderName) -> bool {
    name == "forwarded" || name == "x-real-ip" || name.as_str().starts_with("x-forwarded")
}
