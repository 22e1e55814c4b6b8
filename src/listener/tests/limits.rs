//! Limits on connections and request heads.

use std::net::SocketAddr;

use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::support::{app, bind, connect_from, exchange, read_all, read_until, start, until};
use crate::{clock::Clock, engine::LimitsConfig, listener::ConnectionConfig, listener::Server};

fn max_connections(max_connections: usize) -> LimitsConfig {
    LimitsConfig {
        max_connections,
        max_connections_per_address: Some(0),
        ..LimitsConfig::default()
    }
}

async fn ask(address: SocketAddr) -> String {
    exchange(address, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await
}

#[tokio::test]
async fn an_address_has_a_limit_of_its_own() {
    let limits = LimitsConfig {
        max_connections_per_address: Some(4),
        ..LimitsConfig::default()
    };
    let proxy: ipnet::IpNet = "127.0.0.9/32".parse().unwrap();
    let server = Server::new(&limits, &ConnectionConfig::default(), Clock::system()).with_trusted_proxies(&[proxy]);
    let listener = bind("127.0.0.1:0");
    let address = listener.address();
    server.serve_public(listener, app());
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(connect_from("127.0.0.2", address).await);
    }
    let mut refused = connect_from("127.0.0.2", address).await;
    refused.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_all(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 429 Too Many Requests"), "{answer}");
    for header in [
        "retry-after: ",
        "application/problem+json",
        "nosniff",
        "cross-origin-resource-policy",
    ] {
        assert!(answer.contains(header), "{header} is missing: {answer}");
    }
    // Other addresses are served, and a proxy has no limit.
    assert!(ask(address).await.starts_with("HTTP/1.1 200"));
    for _ in 0..8 {
        let mut socket = connect_from("127.0.0.9", address).await;
        socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_until(&mut socket, "200 OK").await;
        held.push(socket);
    }
    held.clear();
    until("its connections to end", || server.open_connections() == 1).await;
    let mut again = connect_from("127.0.0.2", address).await;
    again.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut again, "200 OK").await;
}

#[tokio::test]
async fn a_request_head_is_limited() {
    let limits = LimitsConfig {
        max_header_bytes: 16 * 1024,
        ..LimitsConfig::default()
    };
    let (_server, address) = start(&limits);
    let with = |length: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {}\r\n\r\n",
            "x".repeat(length)
        )
    };
    let fits = exchange(address, with(15 * 1024)).await;
    assert!(fits.starts_with("HTTP/1.1 200"), "{fits}");
    for length in [16 * 1024, 200 * 1024, 1024 * 1024] {
        let large = exchange(address, with(length)).await;
        assert!(
            large.starts_with("HTTP/1.1 431") || large.is_empty(),
            "{length}: {large}"
        );
    }
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(500));
    let many = exchange(address, many).await;
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");
}

#[tokio::test]
async fn connections_are_limited_and_the_internal_listener_has_a_reserve() {
    let server = Server::new(&max_connections(32), &ConnectionConfig::default(), Clock::system());
    let (public, internal) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let (outside, inside) = (public.address(), internal.address());
    server.serve_public(public, app());
    server.serve_internal(
        internal,
        vec!["127.0.0.1".parse::<std::net::IpAddr>().unwrap().into()],
        app(),
    );

    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(TcpStream::connect(outside).await.unwrap());
    }
    until("all connections to be accepted", || server.open_connections() == 2 + 30).await;
    let mut refused = TcpStream::connect(outside).await.unwrap();
    assert_eq!(read_all(&mut refused).await, "");

    assert!(ask(inside).await.starts_with("HTTP/1.1 200"));

    held.pop();
    until("a connection to end", || server.open_connections() < 2 + 30).await;
    assert!(ask(outside).await.starts_with("HTTP/1.1 200"));
}
