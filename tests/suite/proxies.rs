//! nginx and HAProxy in every documented topology. The proxies are at 127.0.0.1, which is trusted;
//! the clients at 127.0.0.9, which is not.

use super::support::{
    certs::Certs,
    curl::Curl,
    http::{Answer, Request, escape},
    peers::Proxy,
    server::{BASE, Server, Setup, json_line},
    tokens::STREAM,
    until,
};

pub(super) const CLIENT: &str = "127.0.0.9";

/// A server that trusts a proxy at 127.0.0.1 and logs client addresses.
pub(super) fn trusting_proxy(setup: Setup, headers: &str) -> Setup {
    setup
        .logging("info,durable_streams_server::access=debug", "json")
        .with("proxy.enabled", true)
        .with("proxy.forwarded_headers", headers)
        .with("proxy.trusted_proxies", "127.0.0.1")
}

pub(super) fn tls_backend(setup: Setup, headers: &str) -> (Setup, Certs) {
    let certs = Certs::new(setup.dir.path());
    (trusting_proxy(setup, headers), certs)
}

/// mTLS to the backend, with identities in a header.
pub(super) fn mtls_backend(headers: &str) -> (Setup, Certs) {
    let (setup, certs) = super::tls::setup("mtls");
    let setup = trusting_proxy(setup, headers)
        .with("proxy.identity.mode", "header")
        .with("proxy.identity.header_name", "x-client-identity");
    (setup, certs)
}

/// nginx with TLS and these lines.
pub(super) fn nginx(server: &Server, certs: &Certs, name: &str, lines: &str) -> Proxy {
    let text = format!(
        "    ssl_certificate {};\n    ssl_certificate_key {};\n{lines}",
        certs.text("server.pem"),
        certs.text("server.key")
    );
    Proxy::nginx(server.dir(), name, "ssl http2", &text)
}

/// The headers that manuals recommend.
pub(super) const X_FORWARDED: &str = "
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;";

fn plain_upstream(server: &Server) -> String {
    format!(
        "{X_FORWARDED}\n    location / {{ proxy_pass http://{}; }}",
        server.public
    )
}

/// A request through the proxy.
pub(super) fn via(proxy: &Proxy, certs: &Certs, target: &str) -> Curl {
    Curl::new(certs, proxy.address, target).with(&["--interface", CLIENT])
}

/// The access log line for this path.
pub(super) fn access_log_line(server: &Server, path: &str) -> serde_json::Value {
    json_line(&server.log.wait_for(&format!("\"url.path\":\"{path}\"")))
}

pub(super) fn location(answer: &Answer) -> &str {
    answer.header("location").unwrap()
}

#[test]
fn edge_tls_to_plain_http_forwards_the_public_origin() {
    let (setup, certs) = tls_backend(Setup::new(), "x-forwarded");
    let server = setup.start();
    let nginx = nginx(&server, &certs, "nginx", &plain_upstream(&server));
    let put = |name: &str| via(&nginx, &certs, &format!("{BASE}/{name}")).method("PUT").text("x");

    let (version, answer) = put("a").with(&["--http2"]).try_send().unwrap();
    assert_eq!((version.as_str(), answer.status), ("HTTP/2", 201));
    let public = format!("https://localhost:{}{BASE}", nginx.address.port());
    assert_eq!(location(&answer), format!("{public}/a"));
    assert_eq!(access_log_line(&server, &format!("{BASE}/a"))["client.address"], CLIENT);

    // Headers that the client forges: the proxy appends to one, replaces two, and passes the last
    // on.
    let spoofed = put("b")
        .header("X-Forwarded-For", "203.0.113.66, 127.0.0.1")
        .header("X-Forwarded-Proto", "http")
        .header("X-Forwarded-Host", "evil.test")
        .header("Forwarded", "for=203.0.113.66;proto=http;host=evil.test")
        .send()
        .expect(201);
    assert_eq!(location(&spoofed), format!("{public}/b"));
    assert_eq!(access_log_line(&server, &format!("{BASE}/b"))["client.address"], CLIENT);
    assert!(!server.log.text().contains("203.0.113.66"));
}

/// With a proxy that passes these headers on, only its own addition is trusted.
#[test]
fn forwarding_headers_are_read_from_the_right() {
    let (setup, certs) = tls_backend(Setup::new(), "x-forwarded");
    let server = setup.start();
    let lines = format!(
        "    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n    \
         location / {{ proxy_pass http://{}; }}",
        server.public
    );
    let nginx = nginx(&server, &certs, "nginx", &lines);
    for (name, chain) in [
        ("a", "203.0.113.66"),
        ("b", "203.0.113.66, 127.0.0.1"),
        ("c", "127.0.0.1, 127.0.0.1, 203.0.113.66"),
    ] {
        let path = format!("{BASE}/{name}");
        let put = via(&nginx, &certs, &path).method("PUT").text("x");
        put.header("X-Forwarded-For", chain).send().expect(201);
        assert_eq!(access_log_line(&server, &path)["client.address"], CLIENT, "{chain}");
    }
}

#[test]
fn an_untrusted_peers_forwarding_headers_are_ignored() {
    for kind in ["x-forwarded", "forwarded"] {
        let server = trusting_proxy(Setup::new(), kind).start();
        let put = |name: &str, from: [u8; 4]| {
            let answer = Request::new(server.public, "PUT", &format!("{BASE}/{name}"))
                .from(from)
                .header("x-forwarded-for", "203.0.113.66")
                .header("x-forwarded-proto", "https")
                .header("x-forwarded-host", "front.test")
                .header("forwarded", "for=203.0.113.66;proto=https;host=front.test")
                .text("x")
                .send()
                .expect(201);
            location(&answer).to_owned()
        };
        assert_eq!(put("a", [127, 0, 0, 9]), format!("{BASE}/a"));
        let line = access_log_line(&server, &format!("{BASE}/a"));
        assert_eq!(line["client.address"], CLIENT);
        // The same headers from the proxy's address.
        assert_eq!(put("b", [127, 0, 0, 1]), format!("https://front.test{BASE}/b"));
        let line = access_log_line(&server, &format!("{BASE}/b"));
        assert_eq!(line["client.address"], "203.0.113.66");
    }
}

/// nginx merges slashes by default, and decodes the path where `proxy_pass` has a path: `gid://app`
/// and `gid:%2F%2Fapp` both become `gid:/app`.
#[test]
fn a_signed_url_works_with_merged_slashes() {
    let (setup, certs) = tls_backend(Setup::new().gated(), "x-forwarded");
    let server = setup.start();
    let token = server.client_token(STREAM, &["read"]);
    server
        .raw("PUT", &format!("{BASE}/{}", escape(STREAM)))
        .token(&server.server_token())
        .text("hello")
        .send()
        .expect(201);
    let address = server.public;
    for (name, locations) in [
        ("as-sent", format!("location / {{ proxy_pass http://{address}; }}")),
        (
            "merged",
            format!("merge_slashes on;\n    location {BASE}/ {{ proxy_pass http://{address}{BASE}/; }}"),
        ),
        (
            "rewritten",
            format!(
                "location /streams/ {{ rewrite ^/streams/(.*)$ {BASE}/$1 break; proxy_pass http://{address}; }}\n    \
                 location {BASE}/ {{ rewrite ^{BASE}/(.*)$ {BASE}/$1 break; proxy_pass http://{address}; }}"
            ),
        ),
    ] {
        let nginx = nginx(&server, &certs, name, &format!("{X_FORWARDED}\n    {locations}"));
        for spelling in [STREAM.to_owned(), STREAM.replace("//", "%2F%2F"), escape(STREAM)] {
            let target = |query: &str| format!("{BASE}/{spelling}?{query}");
            let url = target(&format!("token={token}"));
            let answer = via(&nginx, &certs, &url).send();
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{name}: {url}");
            via(&nginx, &certs, &target("offset=-1")).send().problem(401);
        }
        // An app server that bypasses the proxy creates no second stream.
        let twice = via(&nginx, &certs, &format!("{BASE}/{STREAM}"))
            .header("authorization", &format!("Bearer {}", server.server_token()))
            .method("PUT")
            .text("hello");
        twice.send().expect(200);
        assert_eq!(server.metric("ds_streams"), 1.0, "{name}");
        // Merging never reaches another stream.
        let other = format!("{BASE}/gid://app/Room/2/messages?token={token}");
        assert_eq!(via(&nginx, &certs, &other).send().status, 403, "{name}");
    }
    let merged = server.log.text();
    assert!(
        merged.contains(&format!("{BASE}/gid:/app/Room/1/messages")),
        "nginx merged nothing"
    );
}

/// With nginx's defaults (buffering, HTTP/1.0 upstream), and with the settings its manual
/// recommends for live connections.
#[test]
fn events_pass_nginx_without_delay() {
    let (setup, certs) = tls_backend(Setup::new(), "x-forwarded");
    let server = setup.start();
    server.text_stream("a", "");
    let modern = format!(
        "    proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n{}",
        plain_upstream(&server)
    );
    for (name, lines) in [("defaults", plain_upstream(&server)), ("modern", modern)] {
        let nginx = nginx(&server, &certs, name, &lines);
        for flag in ["--http1.1", "--http2"] {
            let target = format!("{BASE}/a?offset=now&live=sse");
            let mut sse = via(&nginx, &certs, &target).with(&[flag]).follow();
            sse.lines.wait_for("event: control");
            for round in 0..3 {
                let word = format!("{name}{flag}{round}");
                server.post("a").text(&word).send().expect(204);
                // Write the next event only after this one arrives, so nothing flushes it.
                sse.lines.wait_for(&format!("data:{word}"));
            }
            assert!(sse.goes_on());
        }
    }
}

#[test]
fn a_stop_ends_live_reads_through_nginx() {
    let (setup, certs) = tls_backend(Setup::new(), "x-forwarded");
    let server = setup.start();
    server.text_stream("a", "");
    let nginx = nginx(&server, &certs, "nginx", &plain_upstream(&server));
    let target = format!("{BASE}/a?offset=now&live=sse");
    let mut sse = via(&nginx, &certs, &target).with(&["--http1.1"]).follow();
    sse.lines.wait_for("event: control");
    server.stop();
    until("the end of the live read", || !sse.goes_on());
}

#[test]
fn haproxy_that_merges_slashes_reaches_the_same_streams() {
    let server = Setup::new().gated().start();
    let certs = Certs::new(server.dir());
    let name = "gid://app/Room/1/gid://app/User/2";
    let pem = ["pem", "key"].map(|end| std::fs::read_to_string(certs.path(&format!("server.{end}"))).unwrap());
    certs.write("server.both", &pem.concat());
    let haproxy = Proxy::haproxy(
        server.dir(),
        &format!("ssl crt {}", certs.text("server.both")),
        "  http-request set-path %[path,regsub(//+,/,g)]",
        &format!("  server one {}", server.public),
    );
    let path = format!("{BASE}/{name}");
    let bearer = format!("Bearer {}", server.server_token());
    let put = |through_proxy: bool| match through_proxy {
        true => via(&haproxy, &certs, &path)
            .header("authorization", &bearer)
            .method("PUT")
            .text("hello")
            .send(),
        false => server
            .raw("PUT", &path)
            .token(&server.server_token())
            .text("hello")
            .send(),
    };
    put(true).expect(201);
    put(false).expect(200);
    put(true).expect(200);
    assert_eq!(server.metric("ds_streams"), 1.0);
    let token = server.client_token(name, &["read"]);
    let read = format!("{path}?token={token}");
    assert_eq!(via(&haproxy, &certs, &read).send().expect(200).text(), "hello");
    assert_eq!(server.raw("GET", &read).send().expect(200).text(), "hello");
}
