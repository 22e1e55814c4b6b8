//! nginx and HAProxy in front, in each topology of the documentation. The proxies are at
//! 127.0.0.1, which is trusted; the clients are at 127.0.0.9, which is not.

use super::support::{
    certs::Certs,
    curl::Curl,
    http::{Answer, Request, escape},
    peers::Proxy,
    server::{BASE, Server, Setup, json_line},
    tokens::STREAM,
    until,
};

const CLIENT: &str = "127.0.0.9";

/// A server that believes a proxy at 127.0.0.1 and writes down whom it has answered.
fn believing(setup: Setup, headers: &str) -> Setup {
    setup
        .logging("info,durable_streams_server::access=debug", "json")
        .with("proxy.enabled", true)
        .with("proxy.forwarded_headers", headers)
        .with("proxy.trusted_proxies", "127.0.0.1")
}

fn behind(setup: Setup, headers: &str) -> (Setup, Certs) {
    let certs = Certs::new(setup.dir.path());
    (believing(setup, headers), certs)
}

/// mTLS behind, with a hand-off of identities.
fn behind_mtls(headers: &str) -> (Setup, Certs) {
    let (setup, certs) = super::tls::setup("mtls");
    let setup = believing(setup, headers)
        .with("proxy.identity.mode", "header")
        .with("proxy.identity.header_name", "x-client-identity");
    (setup, certs)
}

/// nginx with a certificate of its own, and these lines.
fn nginx(server: &Server, certs: &Certs, name: &str, lines: &str) -> Proxy {
    let text = format!(
        "    ssl_certificate {};\n    ssl_certificate_key {};\n{lines}",
        certs.text("server.pem"),
        certs.text("server.key")
    );
    Proxy::nginx(server.dir(), name, "ssl http2", &text)
}

/// What every manual says to set.
const X_FORWARDED: &str = "
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $http_host;";

fn plain_behind(server: &Server) -> String {
    format!(
        "{X_FORWARDED}\n    location / {{ proxy_pass http://{}; }}",
        server.public
    )
}

/// A request by way of a proxy.
fn through(proxy: &Proxy, certs: &Certs, target: &str) -> Curl {
    Curl::new(certs, proxy.address, target).with(&["--interface", CLIENT])
}

/// The line about the answer to the request for this path.
fn answered(server: &Server, path: &str) -> serde_json::Value {
    json_line(&server.log.wait_for(&format!("\"url.path\":\"{path}\"")))
}

fn location(answer: &Answer) -> &str {
    answer.header("location").unwrap()
}

#[test]
fn edge_tls_to_plain_http_tells_the_public_origin() {
    let (setup, certs) = behind(Setup::new(), "x-forwarded");
    let server = setup.start();
    let nginx = nginx(&server, &certs, "nginx", &plain_behind(&server));
    let put = |name: &str| {
        through(&nginx, &certs, &format!("{BASE}/{name}"))
            .method("PUT")
            .text("x")
    };

    let (version, answer) = put("a").with(&["--http2"]).try_send().unwrap();
    assert_eq!((version.as_str(), answer.status), ("HTTP/2", 201));
    let public = format!("https://localhost:{}{BASE}", nginx.address.port());
    assert_eq!(location(&answer), format!("{public}/a"));
    assert_eq!(answered(&server, &format!("{BASE}/a"))["client.address"], CLIENT);

    // What the client says of itself: the proxy adds to one of these, replaces two, and passes
    // the last one on.
    let spoofed = put("b")
        .header("X-Forwarded-For", "203.0.113.66, 127.0.0.1")
        .header("X-Forwarded-Proto", "http")
        .header("X-Forwarded-Host", "evil.test")
        .header("Forwarded", "for=203.0.113.66;proto=http;host=evil.test")
        .send()
        .expect(201);
    assert_eq!(location(&spoofed), format!("{public}/b"));
    assert_eq!(answered(&server, &format!("{BASE}/b"))["client.address"], CLIENT);
    assert!(!server.log.text().contains("203.0.113.66"));
}

/// A proxy that leaves alone what clients send of these: only its own addition is believed.
#[test]
fn a_chain_is_read_from_the_right() {
    let (setup, certs) = behind(Setup::new(), "x-forwarded");
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
        let put = through(&nginx, &certs, &path).method("PUT").text("x");
        put.header("X-Forwarded-For", chain).send().expect(201);
        assert_eq!(answered(&server, &path)["client.address"], CLIENT, "{chain}");
    }
}

#[test]
fn a_peer_that_is_no_trusted_proxy_is_not_believed() {
    for kind in ["x-forwarded", "forwarded"] {
        let server = believing(Setup::new(), kind).start();
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
        let line = answered(&server, &format!("{BASE}/a"));
        assert_eq!(line["client.address"], CLIENT);
        // The very same from the proxy's address.
        assert_eq!(put("b", [127, 0, 0, 1]), format!("https://front.test{BASE}/b"));
        let line = answered(&server, &format!("{BASE}/b"));
        assert_eq!(line["client.address"], "203.0.113.66");
    }
}

/// nginx merges slashes unless it is told not to, and decodes the path where `proxy_pass` has
/// one of its own: `gid://app` becomes `gid:/app`, and `gid:%2F%2Fapp` too.
#[test]
fn merged_slashes_do_not_part_a_signed_url_from_its_stream() {
    let (setup, certs) = behind(Setup::new().gated(), "x-forwarded");
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
            let answer = through(&nginx, &certs, &url).send();
            assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{name}: {url}");
            through(&nginx, &certs, &target("offset=-1")).send().problem(401);
        }
        // An app server after the proxy creates no second stream.
        let twice = through(&nginx, &certs, &format!("{BASE}/{STREAM}"))
            .header("authorization", &format!("Bearer {}", server.server_token()))
            .method("PUT")
            .text("hello");
        twice.send().expect(200);
        assert_eq!(server.metric("ds_streams"), 1.0, "{name}");
        // Merging leads to no other stream.
        let other = format!("{BASE}/gid://app/Room/2/messages?token={token}");
        assert_eq!(through(&nginx, &certs, &other).send().status, 403, "{name}");
    }
    let merged = server.log.text();
    assert!(
        merged.contains(&format!("{BASE}/gid:/app/Room/1/messages")),
        "nginx merged nothing"
    );
}

/// With nginx's own defaults, which buffer answers and speak HTTP/1.0 behind, and with what its
/// manual says for live connections.
#[test]
fn events_pass_nginx_at_once() {
    let (setup, certs) = behind(Setup::new(), "x-forwarded");
    let server = setup.start();
    server.text_stream("a", "");
    let modern = format!(
        "    proxy_http_version 1.1;\n    proxy_set_header Connection \"\";\n{}",
        plain_behind(&server)
    );
    for (name, lines) in [("defaults", plain_behind(&server)), ("modern", modern)] {
        let nginx = nginx(&server, &certs, name, &lines);
        for flag in ["--http1.1", "--http2"] {
            let target = format!("{BASE}/a?offset=now&live=sse");
            let mut sse = through(&nginx, &certs, &target).with(&[flag]).follow();
            sse.lines.wait_for("event: control");
            for round in 0..3 {
                let word = format!("{name}{flag}{round}");
                server.post("a").text(&word).send().expect(204);
                // The next one is not written until this one has been seen: nothing pushes it.
                sse.lines.wait_for(&format!("data:{word}"));
            }
            assert!(sse.goes_on());
        }
    }
}

#[test]
fn a_stop_ends_live_reads_behind_nginx_too() {
    let (setup, certs) = behind(Setup::new(), "x-forwarded");
    let server = setup.start();
    server.text_stream("a", "");
    let nginx = nginx(&server, &certs, "nginx", &plain_behind(&server));
    let target = format!("{BASE}/a?offset=now&live=sse");
    let mut sse = through(&nginx, &certs, &target).with(&["--http1.1"]).follow();
    sse.lines.wait_for("event: control");
    server.stop();
    until("the end of the live read", || !sse.goes_on());
}

/// nginx that shows a client certificate of its own behind, and these headers.
fn mtls_behind(server: &Server, certs: &Certs, headers: &str) -> String {
    format!(
        "{headers}
    location / {{
      proxy_pass https://{};
      proxy_ssl_certificate {};
      proxy_ssl_certificate_key {};
      proxy_ssl_trusted_certificate {};
      proxy_ssl_verify on;
      proxy_ssl_name localhost;
      proxy_ssl_server_name on;
    }}",
        server.public,
        certs.text("client.pem"),
        certs.text("client.key"),
        certs.text("ca.pem")
    )
}

const FORWARDED: &str = "
    proxy_set_header Forwarded \"for=$remote_addr;proto=$scheme;host=\\\"$http_host\\\"\";";

#[test]
fn edge_tls_to_mtls_hands_over_origin_and_identity() {
    for (kind, headers) in [("x-forwarded", X_FORWARDED), ("forwarded", FORWARDED)] {
        let (setup, certs) = behind_mtls(kind);
        let server = setup.start();
        // The edge asks clients for certificates, and says whose it was.
        let headers = format!(
            "    ssl_verify_client on;\n    ssl_client_certificate {};\n    \
             proxy_set_header X-Client-Identity $ssl_client_s_dn;{headers}",
            certs.text("client-ca.pem")
        );
        let nginx = nginx(&server, &certs, "nginx", &mtls_behind(&server, &certs, &headers));
        let path = format!("{BASE}/a");
        let put = through(&nginx, &certs, &path)
            .certificate(&certs, "client")
            .header("X-Client-Identity", "CN=admin")
            .method("PUT")
            .text("x");
        let answer = put.send().expect(201);
        let public = format!("https://localhost:{}{path}", nginx.address.port());
        assert_eq!(location(&answer), public, "{kind}");
        let line = answered(&server, &path);
        assert_eq!(line["client.address"], CLIENT, "{kind}");
        let identity = line["enduser.id"].as_str().unwrap_or_default();
        assert!(identity.contains("CN=client") && !identity.contains("admin"), "{line}");

        // Somebody else with a certificate of the same CA is a client, not a proxy.
        let path = format!("{BASE}/b");
        let direct = Curl::new(&certs, server.public, &path)
            .with(&["--interface", CLIENT])
            .certificate(&certs, "client")
            .header("X-Client-Identity", "CN=admin")
            .header("X-Forwarded-For", "203.0.113.66")
            .header("X-Forwarded-Host", "evil.test")
            .header("Forwarded", "for=203.0.113.66;host=evil.test")
            .method("PUT")
            .text("x")
            .send()
            .expect(201);
        let own = format!("https://localhost:{}{path}", server.public.port());
        assert_eq!(location(&direct), own, "{kind}");
        let line = answered(&server, &path);
        assert_eq!(line["client.address"], CLIENT, "{kind}");
        assert!(line.get("enduser.id").is_none(), "{line}");
        assert!(!server.log.text().contains("admin"));
    }
}

#[test]
fn a_proxy_without_a_certificate_gets_nothing_from_an_mtls_server() {
    let (setup, certs) = behind_mtls("x-forwarded");
    let server = setup.start();
    let lines = format!(
        "{X_FORWARDED}\n    location / {{ proxy_pass https://{}; }}",
        server.public
    );
    let nginx = nginx(&server, &certs, "nginx", &lines);
    let status = through(&nginx, &certs, &format!("{BASE}/a")).send().status;
    assert!(matches!(status, 400 | 502), "{status}: {}", nginx.log());
    assert!(!server.log.text().contains("\"answered\""));
}

/// A name of several parts loses a slash in each; a token and an app server reach the same stream.
#[test]
fn a_haproxy_that_merges_slashes_leads_to_the_same_streams() {
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
        true => through(&haproxy, &certs, &path)
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
    assert_eq!(through(&haproxy, &certs, &read).send().expect(200).text(), "hello");
    assert_eq!(server.raw("GET", &read).send().expect(200).text(), "hello");
}

/// HAProxy speaks HTTP/2 on both sides, which nginx cannot do behind.
#[test]
fn haproxy_to_mtls_over_http2() {
    let (setup, certs) = behind_mtls("forwarded");
    let server = setup.start();
    let pair = |name: &str| {
        let both = ["pem", "key"].map(|end| std::fs::read_to_string(certs.path(&format!("{name}.{end}"))).unwrap());
        certs.write(&format!("{name}.both"), &both.concat());
        certs.text(&format!("{name}.both"))
    };
    let haproxy = Proxy::haproxy(
        server.dir(),
        &format!("ssl crt {} alpn h2,http/1.1", pair("server")),
        "  http-request del-header x-client-identity\n  \
         http-request set-header x-client-identity edge\n  \
         http-request set-header forwarded \"for=%[src];proto=https;host=\\\"public.test:8443\\\"\"",
        &format!(
            "  server one {} ssl verify required ca-file {} crt {} sni str(localhost) alpn h2",
            server.public,
            certs.text("ca.pem"),
            pair("client")
        ),
    );
    let path = format!("{BASE}/a");
    let put = through(&haproxy, &certs, &path)
        .with(&["--http2"])
        .header("Forwarded", "for=203.0.113.66;proto=http;host=evil.test")
        .method("PUT")
        .text("");
    let (version, answer) = put.try_send().unwrap();
    assert_eq!((version.as_str(), answer.status), ("HTTP/2", 201), "{}", haproxy.log());
    assert_eq!(location(&answer), format!("https://public.test:8443{path}"));
    let line = answered(&server, &path);
    for (field, value) in [
        ("client.address", CLIENT),
        ("enduser.id", "edge"),
        ("network.protocol.version", "2"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }

    let sse = through(&haproxy, &certs, &format!("{path}?offset=now&live=sse"))
        .with(&["--http2"])
        .follow();
    sse.lines.wait_for("event: control");
    let post = |text: &str| {
        through(&haproxy, &certs, &path)
            .method("POST")
            .text(text)
            .send()
            .expect(204)
    };
    post("first");
    sse.lines.wait_for("data:first");
    post("second");
    sse.lines.wait_for("data:second");
}
