//! Per-client shares of live reads, connections and memory.

use super::support::{
    http::{Answer, Connection, Request},
    live::Sse,
    now,
    server::{BASE, Server, Setup},
    tokens::{STREAM, client, with},
    until,
};
use serde_json::{Value, json};

const ORIGIN: &str = "https://app.test";

fn gated(setup: Setup) -> Server {
    let server = setup.gated().start();
    server.put(STREAM).text("a").send().expect(201);
    server
}

fn live(server: &Server, mode: &str, token: &str) -> Request {
    let target = format!("{BASE}/{STREAM}?live={mode}&offset=now");
    server.raw("GET", &target).token(token).header("origin", ORIGIN)
}

fn token(server: &Server, identity: impl Into<Option<Value>>, extra: u64) -> String {
    let claims = with(client(now(), STREAM, &["read"]), "identity", identity);
    let exp = claims["exp"].as_u64().unwrap() + extra;
    server.issuer.token(&with(claims, "exp", json!(exp)))
}

fn refused(answer: &Answer) {
    refused_as(answer, "too-many-own-readers");
}

fn refused_as(answer: &Answer, code: &str) {
    answer.problem(429);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer:?}");
    assert!(answer.json()["type"].as_str().unwrap().ends_with(code), "{answer:?}");
}

#[test]
fn a_principal_has_a_limited_share_of_live_reads() {
    let server = gated(Setup::new().with("limits.max_live_readers_per_principal", 3));
    let (one, same) = (token(&server, json!("7"), 0), token(&server, json!("7"), 1));
    let (other, bare) = (token(&server, json!("8"), 0), token(&server, None, 0));
    let another_bare = token(&server, None, 1);
    // The share belongs to the identity, across tokens; without an identity, to the token.
    let mut held = vec![
        Sse::open(&live(&server, "sse", &one)),
        Sse::open(&live(&server, "sse", &same)),
        Sse::open(&live(&server, "sse", &one)),
    ];
    for token in [&one, &same] {
        for mode in ["sse", "long-poll"] {
            refused(&live(&server, mode, token).send());
        }
    }
    for token in [&other, &bare, &another_bare, &server.server_token()] {
        for _ in 0..3 {
            held.push(Sse::open(&live(&server, "sse", token)));
        }
    }
    refused(&live(&server, "sse", &bare).send());
    // Server tokens are exempt.
    held.push(Sse::open(&live(&server, "sse", &server.server_token())));
    // Only live reads count.
    let catch_up = server.raw("GET", &format!("{BASE}/{STREAM}")).token(&one);
    catch_up.send().expect(200);
    held.clear();
    until("the share to be available", || accepts_live_read(&server, &one));
}

fn accepts_live_read(server: &Server, token: &str) -> bool {
    let mut connection = live(server, "sse", token).open();
    connection.head().unwrap().is_some_and(|answer| answer.status == 200)
}

#[test]
fn an_address_has_a_limited_share_of_live_reads() {
    let setup = Setup::new()
        .with("limits.max_live_readers_per_address", 2)
        .with("proxy.enabled", true)
        .with("proxy.forwarded_headers", "x-forwarded")
        .with("proxy.trusted_proxies", "127.0.0.1")
        .internal("127.0.0.1");
    let server = setup.start();
    server.text_stream("s", "a");
    let target = format!("{BASE}/s?live=sse&offset=now");
    let from = |client: &str| {
        server
            .raw("GET", &target)
            .header("x-forwarded-for", client)
            .header("origin", ORIGIN)
    };
    let mut held = vec![
        Sse::open(&from("203.0.113.7")),
        Sse::open(&from("::ffff:203.0.113.7")),
        Sse::open(&from("2001:db8::1")),
        Sse::open(&from("2001:db8::2:0:0:1")),
    ];
    for client in ["203.0.113.7", "2001:db8::3", "198.51.100.1, 203.0.113.7"] {
        refused(&from(client).send());
    }
    for client in ["203.0.113.8", "2001:db8:0:1::1"] {
        held.push(Sse::open(&from(client)));
    }
    // A forwarding header from a client is ignored.
    let direct = server
        .raw("GET", &target)
        .header("x-forwarded-for", "192.0.2.1")
        .header("origin", ORIGIN);
    let direct = direct.from([127, 0, 0, 9]);
    held.push(Sse::open(&direct));
    held.push(Sse::open(&direct));
    refused(&direct.send());
    // The proxy itself and the internal listener are exempt.
    for to in [server.public, server.internal()] {
        for _ in 0..4 {
            held.push(Sse::open(&Request::new(to, "GET", &target)));
        }
    }
}

#[test]
fn default_shares_are_fractions_of_the_total() {
    let server = gated(Setup::new().with("limits.max_live_readers", 100));
    let (one, other) = (token(&server, json!("7"), 0), token(&server, json!("8"), 0));
    let open = |token: &str| live(&server, "sse", token).open();
    let mut held: Vec<Connection> = Vec::new();
    let statuses = |held: &mut Vec<Connection>, token: &str, count: usize| {
        let mut statuses = Vec::new();
        for _ in 0..count {
            let mut connection = open(token);
            statuses.push(connection.head().unwrap().unwrap().status);
            held.push(connection);
        }
        statuses.iter().filter(|status| **status == 200).count()
    };
    assert_eq!(statuses(&mut held, &one, 20), 10);
    assert_eq!(statuses(&mut held, &other, 1), 1);
}

#[test]
fn an_address_may_use_half_of_the_body_memory() {
    const BODY: usize = 40_000;
    let setup = Setup::new()
        .with("limits.max_inflight_bytes", 200_000)
        .with("limits.max_body_bytes", BODY)
        .internal("127.0.0.1");
    let server = setup.start();
    server.text_stream("s", "");
    let slow = |address: [u8; 4]| {
        let mut connection = Connection::try_open(server.public, Some(address.into())).unwrap();
        connection.write(&format!(
            "POST {BASE}/s HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n"
        ));
        connection.try_write(&[b'x'; BODY - 1]).unwrap();
        connection
    };
    let post = |address: [u8; 4]| {
        let request = server.post("s").header("origin", ORIGIN).text(&"x".repeat(30_000));
        request.from(address).send()
    };
    let (mut address, mut held) = ([127, 0, 1, 0], None);
    until("an address to have its share", || {
        // A new request each time: if all arrive together, the server may refuse a slow one
        // instead.
        address[3] += 1;
        held = Some([slow(address), slow(address)]);
        post(address).status == 429
    });
    refused_as(&post(address), "too-many-own-bodies");
    post([127, 0, 0, 3]).expect(204);
    let internal = Request::new(server.internal(), "POST", &format!("{BASE}/s"));
    internal.text(&"x".repeat(30_000)).send().expect(204);
    for connection in held.iter_mut().flatten() {
        connection.write("x");
        connection.answer().expect(204);
    }
    post(address).expect(204);
}
