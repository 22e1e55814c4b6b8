//! nginx and HAProxy that authenticate to the server with a client certificate.

use super::{
    proxies::{CLIENT, X_FORWARDED, access_log_line, location, mtls_backend, nginx, via},
    support::{
        certs::Certs,
        curl::Curl,
        peers::Proxy,
        server::{BASE, Server},
    },
};

/// nginx with a client certificate towards the backend, and these headers.
fn mtls_upstream(server: &Server, certs: &Certs, headers: &str) -> String {
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
fn edge_tls_to_mtls_forwards_origin_and_identity() {
    for (kind, headers) in [("x-forwarded", X_FORWARDED), ("forwarded", FORWARDED)] {
        let (setup, certs) = mtls_backend(kind);
        let server = setup.start();
        // nginx verifies client certificates and forwards the subject.
        let headers = format!(
            "    ssl_verify_client on;\n    ssl_client_certificate {};\n    \
             proxy_set_header X-Client-Identity $ssl_client_s_dn;{headers}",
            certs.text("client-ca.pem")
        );
        let nginx = nginx(&server, &certs, "nginx", &mtls_upstream(&server, &certs, &headers));
        let path = format!("{BASE}/a");
        let put = via(&nginx, &certs, &path)
            .certificate(&certs, "client")
            .header("X-Client-Identity", "CN=admin")
            .method("PUT")
            .text("x");
        let answer = put.send().expect(201);
        let public = format!("https://localhost:{}{path}", nginx.address.port());
        assert_eq!(location(&answer), public, "{kind}");
        let line = access_log_line(&server, &path);
        assert_eq!(line["client.address"], CLIENT, "{kind}");
        let identity = line["enduser.id"].as_str().unwrap_or_default();
        assert!(identity.contains("CN=client") && !identity.contains("admin"), "{line}");

        // Another holder of a certificate from this CA is a client, not a proxy.
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
        let line = access_log_line(&server, &path);
        assert_eq!(line["client.address"], CLIENT, "{kind}");
        assert!(line.get("enduser.id").is_none(), "{line}");
        assert!(!server.log.text().contains("admin"));
    }
}

#[test]
fn a_proxy_without_a_certificate_gets_nothing_from_an_mtls_server() {
    let (setup, certs) = mtls_backend("x-forwarded");
    let server = setup.start();
    let lines = format!(
        "{X_FORWARDED}\n    location / {{ proxy_pass https://{}; }}",
        server.public
    );
    let nginx = nginx(&server, &certs, "nginx", &lines);
    let status = via(&nginx, &certs, &format!("{BASE}/a")).send().status;
    assert!(matches!(status, 400 | 502), "{status}: {}", nginx.log());
    assert!(!server.log.text().contains("\"answered\""));
}

/// HAProxy speaks HTTP/2 to the backend; nginx cannot.
#[test]
fn haproxy_to_mtls_over_http2() {
    let (setup, certs) = mtls_backend("forwarded");
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
    let put = via(&haproxy, &certs, &path)
        .with(&["--http2"])
        .header("Forwarded", "for=203.0.113.66;proto=http;host=evil.test")
        .method("PUT")
        .text("");
    let (version, answer) = put.try_send().unwrap();
    assert_eq!((version.as_str(), answer.status), ("HTTP/2", 201), "{}", haproxy.log());
    assert_eq!(location(&answer), format!("https://public.test:8443{path}"));
    let line = access_log_line(&server, &path);
    for (field, value) in [
        ("client.address", CLIENT),
        ("enduser.id", "edge"),
        ("network.protocol.version", "2"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }

    let sse = via(&haproxy, &certs, &format!("{path}?offset=now&live=sse"))
        .with(&["--http2"])
        .follow();
    sse.lines.wait_for("event: control");
    let post = |text: &str| {
        via(&haproxy, &certs, &path)
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
