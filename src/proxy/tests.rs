//! Which forwarding headers are believed, and from whom.

use http::{HeaderName, Request};
use ipnet::IpNet;

use super::{Origin, ProxyIdentity, ProxyTrust};
use crate::{
    listener::TransportMode,
    listener::{PeerAddr, TlsInfo},
    proxy::{ForwardedHeaders, IdentityConfig, IdentityMode, ProxyConfig},
};

const PROXY: &str = "10.0.0.1";

fn config(forwarded_headers: ForwardedHeaders) -> ProxyConfig {
    ProxyConfig {
        enabled: true,
        forwarded_headers,
        trusted_proxies: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/8".parse::<IpNet>().unwrap()],
        identity: IdentityConfig {
            mode: IdentityMode::Header,
            header_name: Some("x-client-identity".into()),
            require_tls: true,
        },
    }
}

fn request(peer: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().uri("/a").header("host", "localhost:4437");
    for &(name, value) in headers {
        request = request.header(name, value);
    }
    let mut request = request.body(()).unwrap();
    let peer = std::net::SocketAddr::new(peer.parse().unwrap(), 1);
    request.extensions_mut().insert(PeerAddr(peer));
    request
}

/// The base URL and client address of a request. No forwarding header may be left in it.
fn origin_of(kind: ForwardedHeaders, mut request: Request<()>) -> String {
    ProxyTrust::new(&config(kind), TransportMode::Http).apply(&mut request);
    for name in request.headers().keys() {
        assert!(!name.as_str().contains("forwarded") && name != "x-real-ip", "{name}");
    }
    let origin = request.extensions().get::<Origin>().unwrap();
    let base_url = origin.base_url(request.uri(), request.headers());
    format!("{base_url} {}", origin.client_ip.unwrap())
}

fn x(peer: &str, headers: &[(&str, &str)]) -> String {
    let long: Vec<(String, &str)> = headers
        .iter()
        .map(|(name, value)| (format!("x-forwarded-{name}"), *value))
        .collect();
    let long: Vec<(&str, &str)> = long.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    origin_of(ForwardedHeaders::XForwarded, request(peer, &long))
}

fn rfc7239(lines: &[&str]) -> String {
    let headers: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
    origin_of(ForwardedHeaders::Forwarded, request(PROXY, &headers))
}

/// Nothing was believed.
const DIRECT: &str = "http://localhost:4437 10.0.0.1";

#[test]
fn x_forwarded_is_read_from_the_right() {
    for (headers, expected) in [
        (
            &[("for", "192.0.2.7"), ("proto", "https"), ("host", "a.test")][..],
            "https://a.test 192.0.2.7",
        ),
        (&[], DIRECT),
        (&[("proto", "https")], "https://localhost:4437 10.0.0.1"),
        // The client's own claims are on the left of what the proxy saw.
        (&[("for", "1.1.1.1, 192.0.2.7")], "http://localhost:4437 192.0.2.7"),
        (
            &[("for", "1.1.1.1"), ("for", "192.0.2.7")],
            "http://localhost:4437 192.0.2.7",
        ),
        (&[("for", "rubbish, 192.0.2.7")], "http://localhost:4437 192.0.2.7"),
        (
            &[("for", "127.0.0.1, 192.0.2.7, 10.0.0.2")],
            "http://localhost:4437 192.0.2.7",
        ),
        (&[("for", "10.0.0.3, 10.0.0.2")], "http://localhost:4437 10.0.0.3"),
        (&[("for", "192.0.2.7:5000")], "http://localhost:4437 192.0.2.7"),
        (&[("for", "[2001:db8::1]:5000")], "http://localhost:4437 2001:db8::1"),
        (&[("for", "2001:db8::1, fd00::2")], "http://localhost:4437 2001:db8::1"),
        (&[("for", "::ffff:192.0.2.7")], "http://localhost:4437 192.0.2.7"),
        // One element for each hop, or one for all.
        (
            &[("for", "192.0.2.7, 10.0.0.2"), ("proto", "https, http")],
            "https://localhost:4437 192.0.2.7",
        ),
        (
            &[("for", "192.0.2.7, 10.0.0.2"), ("proto", "HTTPS")],
            "https://localhost:4437 192.0.2.7",
        ),
        (
            &[("for", "192.0.2.7"), ("host", "[2001:db8::1]:8443")],
            "http://[2001:db8::1]:8443 192.0.2.7",
        ),
    ] {
        assert_eq!(x(PROXY, headers), expected, "{headers:?}");
    }
}

#[test]
fn malformed_x_forwarded_is_not_believed_at_all() {
    for headers in [
        &[("for", "192.0.2.7, rubbish"), ("proto", "https")][..],
        &[("for", "192.0.2.7,"), ("proto", "https")],
        &[("for", ""), ("proto", "https")],
        &[("for", "192.0.2.7"), ("proto", "ftp")],
        &[("for", "192.0.2.7"), ("proto", "https, https")],
        &[("for", "192.0.2.7"), ("host", "a.test/b")],
        &[("for", "192.0.2.7"), ("host", "user@a.test")],
        &[("for", "192.0.2.7"), ("host", "")],
        &[("for", "192.0.2.256")],
        &[("for", "\u{ff}192.0.2.7")],
    ] {
        assert_eq!(x(PROXY, headers), DIRECT, "{headers:?}");
    }
}

#[test]
fn forwarded_is_read_from_the_right() {
    for (lines, expected) in [
        (
            &["for=192.0.2.7;proto=https;host=a.test"][..],
            "https://a.test 192.0.2.7",
        ),
        (
            &["For=\"192.0.2.7:80\" ; Proto=HTTPS; by=10.0.0.1"],
            "https://localhost:4437 192.0.2.7",
        ),
        (
            &["for=\"[2001:db8::1]:80\";host=\"a.test:8443\""],
            "http://a.test:8443 2001:db8::1",
        ),
        (
            &["for=1.1.1.1;host=evil.test, for=192.0.2.7;host=a.test"],
            "http://a.test 192.0.2.7",
        ),
        (&["for=1.1.1.1", "for=192.0.2.7"], "http://localhost:4437 192.0.2.7"),
        (
            &["for=192.0.2.7;proto=https, for=10.0.0.2;proto=http"],
            "https://localhost:4437 192.0.2.7",
        ),
        (
            &["for=192.0.2.7, for=unknown;proto=https"],
            "https://localhost:4437 10.0.0.1",
        ),
        (
            &["for=192.0.2.7, for=_hidden, for=10.0.0.2"],
            "http://localhost:4437 10.0.0.2",
        ),
        (&["proto=https;host=a.test"], "https://a.test 10.0.0.1"),
        (&[", ,for=192.0.2.7;;ext=1;,"], "http://localhost:4437 192.0.2.7"),
        (&["for=\"192.0.2.\\7\""], "http://localhost:4437 192.0.2.7"),
        (
            &["host=\"a,for=1.1.1.1\";for=rubbish, for=192.0.2.7"],
            "http://localhost:4437 192.0.2.7",
        ),
        (&[], DIRECT),
        (&[""], DIRECT),
    ] {
        assert_eq!(rfc7239(lines), expected, "{lines:?}");
    }
}

#[test]
fn malformed_forwarded_is_not_believed_at_all() {
    for line in [
        "for",
        "for=",
        "=192.0.2.7",
        "for=192.0.2.7;for=192.0.2.8",
        "for=192.0.2.7;proto=https;proto=http",
        "for=\"192.0.2.7",
        "for=\"192.0.2.7\\",
        "for=\"x, for=192.0.2.7",
        "for=192.0.2.7 proto=https",
        "for = 192.0.2.7",
        "for=192.0.2.7:80",
        "for=2001:db8::1",
        "for=\"2001:db8::1\"",
        "for=192.0.2.7;proto=gopher",
        "for=192.0.2.7;host=\"a b\"",
        "for=example.test",
        "for=_",
    ] {
        assert_eq!(rfc7239(&[line]), DIRECT, "{line}");
    }
}

#[test]
fn headers_of_other_peers_are_neither_believed_nor_passed_on() {
    let all = [
        ("x-forwarded-for", "192.0.2.7"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.test"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-for", "192.0.2.8"),
        ("x-real-ip", "192.0.2.7"),
        ("forwarded", "for=192.0.2.7;proto=https;host=evil.test"),
    ];
    for kind in [
        ForwardedHeaders::None,
        ForwardedHeaders::XForwarded,
        ForwardedHeaders::Forwarded,
    ] {
        for stranger in ["10.0.1.1", "192.0.2.1", "::1"] {
            let expected = format!("http://localhost:4437 {stranger}");
            assert_eq!(origin_of(kind, request(stranger, &all)), expected);
        }
    }
    // The trusted proxy, but in a form that is not the configured one.
    assert_eq!(origin_of(ForwardedHeaders::None, request(PROXY, &all)), DIRECT);
    assert_eq!(
        origin_of(ForwardedHeaders::Forwarded, request(PROXY, &all[..6])),
        DIRECT
    );
    assert_eq!(
        origin_of(ForwardedHeaders::XForwarded, request(PROXY, &all[6..])),
        DIRECT
    );

    let mut off = config(ForwardedHeaders::XForwarded);
    off.enabled = false;
    let mut request = request(PROXY, &all);
    ProxyTrust::new(&off, TransportMode::Http).apply(&mut request);
    assert_eq!(request.headers().len(), 1);
    let origin = request.extensions().get::<Origin>().unwrap();
    assert_eq!(
        origin.base_url(request.uri(), request.headers()),
        "http://localhost:4437"
    );
}

#[test]
fn without_a_proxy_the_connection_decides() {
    let mut direct = request("192.0.2.1", &[]);
    direct.extensions_mut().insert(TlsInfo {
        client_cert: false,
        http2: false,
    });
    assert_eq!(
        origin_of(ForwardedHeaders::None, direct),
        "https://localhost:4437 192.0.2.1"
    );

    // A host that is not local could lead to a third party.
    for (named, expected) in [
        ("10.0.0.7:80", "http://10.0.0.7:80 192.0.2.1"),
        ("outer.test", " 192.0.2.1"),
    ] {
        let mut absolute = request("192.0.2.1", &[]);
        *absolute.uri_mut() = format!("http://{named}/a").parse().unwrap();
        assert_eq!(origin_of(ForwardedHeaders::None, absolute), expected);
        let mut hosted = request("192.0.2.1", &[]);
        hosted.headers_mut().insert("host", named.parse().unwrap());
        assert_eq!(origin_of(ForwardedHeaders::None, hosted), expected);
    }

    let mut hostless = request("192.0.2.1", &[]);
    hostless.headers_mut().insert("host", "a b".parse().unwrap());
    assert_eq!(origin_of(ForwardedHeaders::None, hostless), " 192.0.2.1");
}

fn identity(
    change: impl FnOnce(&mut ProxyConfig),
    transport: TransportMode,
    peer: &str,
    tls: Option<bool>,
    values: &[&str],
) -> Option<String> {
    let mut config = config(ForwardedHeaders::Forwarded);
    change(&mut config);
    let headers: Vec<_> = values.iter().map(|value| ("x-client-identity", *value)).collect();
    let mut request = request(peer, &headers);
    if let Some(client_cert) = tls {
        request.extensions_mut().insert(TlsInfo {
            client_cert,
            http2: false,
        });
    }
    ProxyTrust::new(&config, transport).apply(&mut request);
    let identity = request
        .extensions()
        .get::<ProxyIdentity>()
        .map(|identity| identity.0.to_str().unwrap().to_owned());
    // The header and the extension always agree.
    let name = HeaderName::from_static("x-client-identity");
    assert_eq!(
        request
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned()),
        identity
    );
    identity
}

#[test]
fn an_identity_is_accepted_from_a_trusted_proxy_over_mtls_only() {
    let same = |_: &mut ProxyConfig| {};
    let (mtls, seven) = (TransportMode::Mtls, Some("7".to_owned()));
    assert_eq!(identity(same, mtls, PROXY, Some(true), &["7"]), seven);

    assert_eq!(identity(same, mtls, "192.0.2.1", Some(true), &["7"]), None);
    assert_eq!(identity(same, mtls, PROXY, Some(false), &["7"]), None);
    // The internal listener is plain, whatever the public one is.
    assert_eq!(identity(same, mtls, PROXY, None, &["7"]), None);
    assert_eq!(
        identity(|c| c.identity.require_tls = false, mtls, PROXY, None, &["7"]),
        seven
    );
    assert_eq!(identity(same, TransportMode::Tls, PROXY, Some(true), &["7"]), None);
    assert_eq!(identity(same, TransportMode::Http, PROXY, None, &["7"]), None);
    assert_eq!(identity(same, mtls, PROXY, Some(true), &["7", "8"]), None);
    assert_eq!(identity(same, mtls, PROXY, Some(true), &[""]), None);
    assert_eq!(identity(same, mtls, PROXY, Some(true), &[]), None);
    assert_eq!(
        identity(
            |c| c.identity.mode = IdentityMode::None,
            mtls,
            PROXY,
            Some(true),
            &["7"]
        ),
        None
    );
    assert_eq!(identity(|c| c.enabled = false, mtls, PROXY, Some(true), &["7"]), None);
}

#[test]
fn a_wrapped_router_can_be_served() {
    fn served<S: crate::listener::HttpService>(_: S) {}
    let trust = ProxyTrust::new(&config(ForwardedHeaders::Forwarded), TransportMode::Http);
    served(trust.wrap(axum::Router::new()));
}
