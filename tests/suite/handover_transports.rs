//! A handover while clients are connected by TLS, HTTP/2 and the internal listener.

use super::{
    support::{
        certs::Certs,
        curl::Curl,
        http::{Connection, Request},
        server::{BASE, Server},
        storage::on_disk,
    },
    tls,
};

fn to(certs: &Certs, server: &Server, target: &str) -> Curl {
    Curl::new(certs, server.public, &format!("{BASE}/{target}"))
}

#[test]
fn clients_by_tls_in_both_versions_of_http_do_not_notice() {
    let (setup, certs) = tls::setup("tls");
    let setup = setup.acid();
    for (flag, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2")] {
        let name = version.replace(['/', '.'], "");
        let first = setup.start();
        let curl = |server: &Server, target: &str| to(&certs, server, target).with(&[flag]);
        curl(&first, &name).method("PUT").text("a").send().expect(201);
        let mut reader = curl(&first, &format!("{name}?offset=-1&live=sse")).follow();
        reader.lines.wait_for("data:a");
        let second = setup.launch();
        curl(&second, &name).method("POST").text("b").send().expect(204);
        first.log.wait_for("handed the data directory over");
        reader.lines.wait_for("data:b");
        // Forwarded, in the client's version, and with its scheme and host.
        let other = format!("{name}/other");
        let (spoken, answer) = curl(&first, &other).method("PUT").text("x").try_send().unwrap();
        assert_eq!((spoken.as_str(), answer.status), (version, 201), "{}", answer.text());
        let location = format!("https://localhost:{}{BASE}/{other}", first.public.port());
        assert_eq!(answer.header("location"), Some(location.as_str()));
        curl(&first, &name).method("POST").text("c").send().expect(204);
        reader.lines.wait_for("data:c");
        assert!(reader.goes_on());
        assert_eq!(curl(&second, &name).send().expect(200).text(), "abc");
        first.stop();
        second.stop();
    }
}

/// The new server knows of the client's certificate, although it has not seen it.
#[test]
fn a_client_certificate_counts_after_the_handover() {
    let (setup, certs) = tls::setup("mtls");
    let setup = setup.acid();
    let first = setup.start();
    let curl = |server: &Server| to(&certs, server, "s").certificate(&certs, "client");
    curl(&first).method("PUT").text("a").send().expect(201);
    let second = setup.launch();
    assert_eq!(curl(&second).send().expect(200).text(), "a");
    first.log.wait_for("handed the data directory over");
    assert_eq!(curl(&first).send().expect(200).text(), "a");
    to(&certs, &first, "s").refused();
}

/// What only the internal listener serves is served by way of the former holder's, and not by its
/// public one.
#[test]
fn the_internal_listener_of_the_former_holder_goes_on() {
    let setup = on_disk("acid").gated().internal("127.0.0.1");
    let first = setup.start();
    first.text_stream("s", "a");
    let mut kept = Connection::open(first.internal());
    let append = |server: &Server| {
        Request::new(server.internal(), "POST", &format!("{BASE}/s"))
            .token(&server.server_token())
            .text("b")
    };
    append(&first).send_on(&mut kept).unwrap().expect(204);
    let second = setup.launch();
    append(&second).send().expect(204);
    first.log.wait_for("handed the data directory over");
    append(&first).send_on(&mut kept).unwrap().expect(204);
    append(&first).send().expect(204);
    assert_eq!(second.content("s"), "abbbb");
    // Without a token there is nothing, at either listener.
    for to in [first.internal(), first.public] {
        Request::new(to, "GET", &format!("{BASE}/s")).send().expect(401);
    }
}
