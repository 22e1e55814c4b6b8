//! The internal listener: its allow-list and its gate.

use super::support::{
    http::{Connection, Request},
    server::{BASE, Server, Setup},
    tokens::STREAM,
};

const INSIDE: [u8; 4] = [127, 0, 0, 2];
const OUTSIDE: [u8; 4] = [127, 0, 0, 3];

fn start() -> Server {
    Setup::new()
        .gated()
        .internal("127.0.0.1, 127.0.0.2, 127.9.0.0/16")
        .start()
}

fn ask(server: &Server, from: [u8; 4], method: &str) -> Request {
    Request::new(server.internal(), method, &format!("{BASE}/{STREAM}"))
        .from(from)
        .token(&server.server_token())
}

#[test]
fn a_peer_outside_allowed_ips_is_refused_with_any_token() {
    let server = start();
    ask(&server, INSIDE, "PUT").text("a").send().expect(201);
    let spoofs: [&[(&str, &str)]; 6] = [
        &[],
        &[("x-forwarded-for", "127.0.0.1")],
        &[("x-forwarded-for", "127.0.0.1, 127.0.0.2"), ("x-real-ip", "127.0.0.1")],
        &[("forwarded", "for=127.0.0.1;proto=http")],
        &[
            ("client-ip", "127.0.0.1"),
            ("true-client-ip", "127.0.0.1"),
            ("cf-connecting-ip", "127.0.0.1"),
        ],
        &[("host", "127.0.0.1")],
    ];
    for headers in spoofs {
        for method in ["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS"] {
            let mut request = ask(&server, OUTSIDE, method).text("b");
            for (name, value) in headers {
                request = request.header(name, value);
            }
            request.send().expect(403);
        }
    }
    for path in ["/up", "/healthz", "/readyz", "/metrics"] {
        Request::new(server.internal(), "GET", path)
            .from(OUTSIDE)
            .send()
            .expect(403);
    }
    let answer = ask(&server, INSIDE, "GET").send().expect(200);
    assert_eq!(answer.text(), "a");
    let line = server.log.wait_for("not in internal.allowed_ips");
    assert!(line.contains("127.0.0.3"), "{line}");
}

#[test]
fn a_refused_peer_gets_a_problem_and_is_disconnected() {
    let server = start();
    let answer = ask(&server, OUTSIDE, "GET").send();
    assert!(answer.problem(403).contains("allowed_ips"));
    let mut connection = Connection::try_open(server.internal(), Some(OUTSIDE.into())).unwrap();
    connection.write("GET /up HTTP/1.1\r\nhost: x\r\n\r\nGET /up HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(connection.rest().matches("HTTP/1.1").count(), 1);
}

#[test]
fn a_silent_peer_outside_allowed_ips_is_disconnected() {
    let server = start();
    let mut connection = Connection::try_open(server.internal(), Some(OUTSIDE.into())).unwrap();
    assert!(connection.rest().starts_with("HTTP/1.1 403"));
}

#[test]
fn addresses_and_cidrs_admit_matching_peers() {
    let server = start();
    for (from, status) in [
        ([127, 0, 0, 1], 404),
        ([127, 0, 0, 2], 404),
        ([127, 9, 0, 0], 404),
        ([127, 9, 255, 255], 404),
        ([127, 0, 0, 20], 403),
        ([127, 10, 0, 0], 403),
        ([127, 8, 255, 255], 403),
    ] {
        let answer = ask(&server, from, "GET").send();
        assert_eq!(answer.status, status, "{from:?}");
    }
}

#[test]
fn an_ipv4_peer_of_an_ipv6_listener_counts_as_ipv4() {
    let mut setup = Setup::new().internal("127.0.0.2");
    setup.variable("DS_INTERNAL__BIND", "::");
    let server = setup.start();
    let to = ([127, 0, 0, 1], server.internal().port()).into();
    Request::new(to, "GET", "/up").from(INSIDE).send().expect(200);
    Request::new(to, "GET", "/up").from(OUTSIDE).send().expect(403);
}

#[test]
fn internal_writes_are_publicly_readable_at_once() {
    let server = start();
    ask(&server, INSIDE, "PUT").text("a").send().expect(201);
    let path = format!("{BASE}/{STREAM}");
    let reader = server.client_token(STREAM, &["read"]);
    let read = || server.raw("GET", &path).token(&reader).send().expect(200).text();
    assert_eq!(read(), "a");
    ask(&server, INSIDE, "POST").text("b").send().expect(204);
    assert_eq!(read(), "ab");
}

#[test]
fn the_gate_covers_the_internal_listener() {
    let server = start();
    let path = format!("{BASE}/{STREAM}");
    let inside = |method: &str| Request::new(server.internal(), method, &path).from(INSIDE).text("x");
    for method in ["PUT", "POST", "GET", "HEAD", "DELETE"] {
        inside(method).send().expect(401);
    }
    let reader = server.client_token(STREAM, &["read"]);
    inside("PUT").token(&reader).send().expect(403);
    assert_eq!(server.metric("ds_streams"), 0.0);
}

#[test]
fn the_public_listener_accepts_any_address() {
    let server = start();
    server.raw("GET", "/up").from(OUTSIDE).send().expect(200);
}
