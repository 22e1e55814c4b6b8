//! TLS and mTLS, with curl and openssl as peers.

use std::fs;

use super::support::{
    certs::Certs,
    curl::{Curl, openssl, plain, shown},
    peers::free_address,
    server::{BASE, Server, Setup},
    until,
};

const VERSIONS: [(&str, &str); 2] = [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2")];

/// A server in `tls` or `mtls` mode with these files, HTTP/1.1 and HTTP/2.
pub fn setup(mode: &str) -> (Setup, Certs) {
    let setup = Setup::new();
    let certs = Certs::new(setup.dir.path());
    let mut setup = setup
        .with("transport.mode", mode)
        .with("transport.http.versions", "http1,http2")
        .with("transport.tls.alpn_protocols", "http/1.1,h2")
        .with("transport.tls.cert_path", certs.text("server.pem"))
        .with("transport.tls.key_path", certs.text("server.key"))
        .with("transport.tls.reload_secs", 1);
    if mode == "mtls" {
        setup = setup.with("transport.tls.client_ca_path", certs.text("client-ca.pem"));
    }
    (setup, certs)
}

fn to(certs: &Certs, server: &Server, name: &str) -> Curl {
    Curl::new(certs, server.public, &format!("{BASE}/{name}"))
}

#[test]
fn streams_are_created_written_and_read_in_both_versions() {
    let (setup, certs) = setup("tls");
    let setup = setup.logging("debug", "json");
    let server = setup.start();
    for (flag, version) in VERSIONS {
        let name = version.replace(['/', '.'], "");
        let curl = || to(&certs, &server, &name).with(&[flag]);
        let (spoken, created) = curl().method("PUT").text("hello").try_send().unwrap();
        assert_eq!((spoken.as_str(), created.status), (version, 201));
        let location = format!("https://localhost:{}{BASE}/{name}", server.public.port());
        assert_eq!(created.header("location"), Some(location.as_str()));
        curl().method("POST").text(" world").send().expect(204);
        assert_eq!(curl().send().expect(200).text(), "hello world");
        let missing = to(&certs, &server, "missing").with(&[flag]).send();
        missing.problem(404);
    }
    for version in ["1.1", "2"] {
        server
            .log
            .wait_for(&format!("\"network.protocol.version\":\"{version}\""));
    }
    server.stop();
}

#[test]
fn long_polls_and_events_arrive_at_once_over_both_http_versions() {
    let (setup, certs) = setup("tls");
    let server = setup.start();
    for (flag, version) in VERSIONS {
        let name = version.replace(['/', '.'], "");
        let curl = || to(&certs, &server, &name).with(&[flag]);
        curl().method("PUT").text("").send().expect(201);
        let live = |how: &str| {
            to(&certs, &server, &format!("{name}?offset=now&live={how}"))
                .with(&[flag])
                .follow()
        };
        let (mut sse, mut poll) = (live("sse"), live("long-poll"));
        sse.lines.wait_for("event: control");
        assert!(sse.lines.find(version).is_some(), "{}", sse.lines.text());
        assert!(poll.goes_on());
        curl().method("POST").text("news").send().expect(204);
        sse.lines.wait_for("data:news");
        // If the poll started after the message, the next one returns it.
        if poll.lines.find("news").is_none() {
            until("the poll", || {
                if poll.lines.find("news").is_some() {
                    return true;
                }
                curl().method("POST").text("news").send().expect(204);
                false
            });
        }
        assert!(sse.goes_on());
    }
}

#[test]
fn alpn_selects_a_common_protocol_or_fails() {
    let (both, _certs) = setup("tls");
    let server = both.start();
    for (offer, agreed) in [
        ("h2", "ALPN protocol: h2"),
        ("http/1.1", "ALPN protocol: http/1.1"),
        // The order of preference does not matter. HTTP/2 carries any number of live reads.
        ("http/1.1,h2", "ALPN protocol: h2"),
    ] {
        let (_, said) = openssl(server.public, &["-alpn", offer]);
        assert!(said.contains(agreed), "{offer}: {said}");
    }
    let (_, said) = openssl(server.public, &[]);
    assert!(said.contains("No ALPN negotiated"), "{said}");
    // RFC 7301, section 3.2: without a common protocol the server sends an alert.
    let (agreed, said) = openssl(server.public, &["-alpn", "spdy/3"]);
    assert!(!agreed && said.contains("no application protocol"), "{said}");

    let only_http1 = both
        .with("transport.http.versions", "http1")
        .with("transport.tls.alpn_protocols", "http/1.1");
    let server = only_http1.start();
    let (_, said) = openssl(server.public, &["-alpn", "h2,http/1.1"]);
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    let (agreed, said) = openssl(server.public, &["-alpn", "h2"]);
    assert!(!agreed && said.contains("no application protocol"), "{said}");
}

#[test]
fn old_versions_of_tls_are_refused() {
    for (min, max, refused, taken) in [
        ("1.2", "1.3", &["-tls1", "-tls1_1"][..], &["-tls1_2", "-tls1_3"][..]),
        ("1.3", "1.3", &["-tls1", "-tls1_1", "-tls1_2"], &["-tls1_3"]),
        ("1.2", "1.2", &["-tls1", "-tls1_1", "-tls1_3"], &["-tls1_2"]),
    ] {
        let (setup, _certs) = setup("tls");
        let server = setup
            .with("transport.tls.min_version", min)
            .with("transport.tls.max_version", max)
            .start();
        // Current clients disable the old versions.
        for (versions, expected) in [(refused, false), (taken, true)] {
            for version in versions {
                let (done, said) = openssl(server.public, &[version, "-cipher", "ALL:@SECLEVEL=0"]);
                assert_eq!(done, expected, "{min} to {max}, {version}: {said}");
                // Refused by the server, not by the client's own policy.
                assert!(expected || said.contains("SSL alert number"), "{version}: {said}");
            }
        }
    }
}

#[test]
fn a_server_certificate_from_an_unknown_ca_is_rejected() {
    let (setup, certs) = setup("tls");
    let server = setup.start();
    certs.write("ca.pem", &fs::read_to_string(certs.path("client-ca.pem")).unwrap());
    let complaint = to(&certs, &server, "a").refused();
    assert!(complaint.contains("certificate"), "{complaint}");
}

#[test]
fn plain_http_on_a_tls_port_gets_no_response() {
    let (setup, certs) = setup("tls");
    let server = setup.start();
    let request = format!("PUT {BASE}/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
    let said = plain(server.public, &request);
    assert!(!said.contains("HTTP/"), "{said}");
    to(&certs, &server, "a").send().expect(404);
}

#[test]
fn a_client_without_the_right_certificate_fails_the_handshake() {
    let (setup, certs) = setup("mtls");
    let server = setup.internal("127.0.0.1").start();
    for (flag, version) in VERSIONS {
        let put = |name: &str| to(&certs, &server, name).with(&[flag]).method("PUT").text("x");
        put("none").refused();
        // Signed by an unknown CA, and by the server CA, which does not sign clients.
        put("stranger").certificate(&certs, "stranger").refused();
        put("server").certificate(&certs, "server").refused();
        let name = version.replace(['/', '.'], "");
        let (spoken, answer) = put(&name).certificate(&certs, "client").try_send().unwrap();
        assert_eq!((spoken.as_str(), answer.status), (version, 201));
    }
    for name in ["none", "stranger", "server"] {
        let path = format!("{BASE}/{name}");
        super::support::http::Request::new(server.internal(), "GET", &path)
            .send()
            .expect(404);
    }
}

#[test]
fn new_certificates_keep_live_readers_and_broken_ones_are_ignored() {
    let (setup, certs) = setup("tls");
    let server = setup.start();
    let first = shown(server.public);
    to(&certs, &server, "a").method("PUT").text("").send().expect(201);
    let follow = |flag| to(&certs, &server, "a?offset=-1&live=sse").with(&[flag]).follow();
    let mut readers = VERSIONS.map(|(flag, _)| follow(flag));
    for reader in &readers {
        reader.lines.wait_for("event: control");
    }

    certs.write("server.pem", "no certificate at all");
    let line = server.log.wait_for("the old certificate stays in use");
    assert!(line.contains("ERROR") && line.contains("server.pem"), "{line}");
    assert_eq!(shown(server.public), first);
    to(&certs, &server, "a").send().expect(200);

    // A new key without its certificate, as midway through a deployment.
    let old_key = fs::read_to_string(certs.path("server.key")).unwrap();
    certs.renew();
    server.log.wait_for("new connections use them");
    let second = shown(server.public);
    assert_ne!(second, first);
    certs.write("server.key", &old_key);
    server.log.wait_for("does not match the certificate");
    assert_eq!(shown(server.public), second);

    to(&certs, &server, "a").method("POST").text("after").send().expect(204);
    for reader in &mut readers {
        reader.lines.wait_for("data:after");
        assert!(reader.goes_on());
    }
}

#[test]
fn a_client_ca_is_reloaded_too() {
    let (setup, certs) = setup("mtls");
    let server = setup.start();
    let status = |name: &str| {
        let curl = to(&certs, &server, "a").certificate(&certs, name);
        curl.try_send().map(|(_, answer)| answer.status).ok()
    };
    assert_eq!((status("client"), status("server")), (Some(404), None));
    fs::copy(certs.path("ca.pem"), certs.path("client-ca.pem")).unwrap();
    server.log.wait_for("new connections use them");
    assert_eq!((status("client"), status("server")), (None, Some(404)));
}

#[test]
fn a_plain_internal_listener_shares_the_store() {
    let (setup, certs) = setup("tls");
    let server = setup.gated().internal("127.0.0.1").start();
    let stream = super::support::tokens::STREAM;
    let name = super::support::http::escape(stream);
    let inside = |method: &str| {
        let target = format!("{BASE}/{name}");
        super::support::http::Request::new(server.internal(), method, &target).token(&server.server_token())
    };
    inside("PUT").text("").send().expect(201);
    let token = server.client_token(stream, &["read"]);
    let reader = to(&certs, &server, &format!("{name}?offset=-1&live=sse"))
        .with(&["--http2"])
        .token(&token)
        .follow();
    reader.lines.wait_for("event: control");
    inside("POST").text("from inside").send().expect(204);
    reader.lines.wait_for("data:from inside");
    // The gate covers both listeners.
    to(&certs, &server, &name).send().problem(401);
}

/// The shipped profiles, with only paths filled in.
#[test]
fn the_production_profiles_start_with_their_files() {
    for profile in ["prod-tls", "prod-mtls"] {
        let mut plain = Setup::new().gated();
        let certs = Certs::new(plain.dir.path());
        plain.arguments = ["--profile", profile].map(str::to_owned).into();
        let mut plain = plain
            .clone()
            .with("storage.data_dir", plain.data_dir().display())
            .with("transport.tls.cert_path", certs.text("server.pem"))
            .with("transport.tls.key_path", certs.text("server.key"));
        if profile == "prod-mtls" {
            plain = plain.with("transport.tls.client_ca_path", certs.text("client-ca.pem"));
        }
        let server = plain.start();
        let put = to(&certs, &server, "a")
            .with(&["--http2"])
            .certificate(&certs, "client")
            .token(&server.server_token())
            .method("PUT")
            .text("kept");
        let (version, answer) = put.try_send().unwrap();
        assert_eq!((version.as_str(), answer.status), ("HTTP/2", 201), "{profile}");
        server.stop();
    }
}

/// The Rails form needs only `domain` with a certificate, or a certificate alone.
#[test]
fn the_rails_form_serves_tls_with_http2() {
    for with_domain in [true, false] {
        let mut setup = Setup::new().gated().internal("127.0.0.1");
        let certs = Certs::new(setup.dir.path());
        let port = free_address().port();
        let place = if with_domain {
            format!("domain: localhost:{port}")
        } else {
            format!("port: {port}")
        };
        let text =
            format!("production:\n  {place}\n  bind: 127.0.0.1\n  tls:\n    cert: server.pem\n    key: server.key\n");
        fs::write(setup.dir.path().join("durable_streams.yml"), text).unwrap();
        setup.variables.remove("DS_SERVER__BIND_ADDRESS");
        setup.arguments = ["--config", "durable_streams.yml", "--env", "production"]
            .map(str::to_owned)
            .into();
        let server = setup.start();
        assert_eq!(server.public.port(), port);
        let put = Curl::new(&certs, server.public, "/v1/streams/a")
            .with(&["--http2"])
            .token(&server.server_token())
            .method("PUT")
            .text("x");
        let (version, answer) = put.try_send().unwrap();
        assert_eq!((version.as_str(), answer.status), ("HTTP/2", 201));
        let location = format!("https://localhost:{port}/v1/streams/a");
        assert_eq!(answer.header("location"), Some(location.as_str()));
        server.stop();
    }
}
