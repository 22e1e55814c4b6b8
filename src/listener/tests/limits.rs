use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::support::{
    app, bind, connect_from, exchange, read_all, read_until, short_timeouts, start, start_default, until,
};
use crate::clock::Clock;
use crate::config::{ConnectionConfig, LimitsConfig};
use crate::listener::Server;

fn crowd(max_connections: usize) -> LimitsConfig {
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
async fn a_silent_connection_is_cut() {
    let (_server, address) = start_default();
    assert_eq!(exchange(address, "").await, "");
    exchange(address, "GET / HTTP/1.1\r\nHo").await;
}

#[tokio::test]
async fn an_idle_kept_connection_is_cut() {
    let (_server, address) = start_default();
    let answer = exchange(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_kept_connection_outlives_the_timeout_for_a_head() {
    let connection = ConnectionConfig {
        idle_timeout_secs: 60,
        ..short_timeouts()
    };
    let (_server, address) = start(&LimitsConfig::default(), &connection);
    let mut socket = TcpStream::connect(address).await.unwrap();
    for _ in 0..2 {
        socket
            .write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut socket, "slow").await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }
    // A head that has begun is under its own timeout again.
    socket.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(read_all(&mut socket).await, "");
}

#[tokio::test]
async fn an_address_has_a_share_of_the_connections() {
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
    // Others are served, and a proxy stands for many.
    assert!(ask(address).await.starts_with("HTTP/1.1 200"));
    for _ in 0..8 {
        let mut socket = connect_from("127.0.0.9", address).await;
        socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_until(&mut socket, "200 OK").await;
        held.push(socket);
    }
    held.clear();
    until("the share to be free", || server.open_connections() == 1).await;
    let mut again = connect_from("127.0.0.2", address).await;
    again.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut again, "200 OK").await;
}

#[tokio::test]
async fn a_trickled_head_is_cut() {
    let (_server, address) = start_default();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let trickle = async {
        socket.write_all(b"GET / HTTP/1.1\r\nX: ").await?;
        loop {
            socket.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended: std::io::Result<()> = tokio::time::timeout(super::support::TIMEOUT, trickle).await.unwrap();
    ended.unwrap_err();
}

#[tokio::test]
async fn a_live_answer_is_not_cut_for_being_silent() {
    let (server, address) = start_default();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut socket, "data: 1\n\n\r\n").await;
    // Twice every timeout of this server.
    tokio::time::timeout(Duration::from_secs(2), socket.read_u8())
        .await
        .unwrap_err();
    drop(socket);
    // The end of the reader is seen without anything to write.
    until("the reader's end to be seen", || server.open_connections() == 1).await;
}

#[tokio::test]
async fn a_head_is_bounded() {
    let limits = LimitsConfig {
        max_header_bytes: 16 * 1024,
        ..LimitsConfig::default()
    };
    let (_server, address) = start(&limits, &short_timeouts());
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
async fn a_reader_that_takes_nothing_is_dropped() {
    let (server, address) = start_default();
    let mut stalled = TcpStream::connect(address).await.unwrap();
    stalled
        .write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut stalled, "200 OK").await;
    until("the stalled reader to be dropped", || server.open_connections() == 1).await;
    // Others never noticed.
    assert!(ask(address).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_are_capped_and_the_internal_listener_keeps_its_share() {
    let server = Server::new(&crowd(32), &ConnectionConfig::default(), Clock::system());
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
    until("all of them to be in", || server.open_connections() == 2 + 30).await;
    let mut refused = TcpStream::connect(outside).await.unwrap();
    assert_eq!(read_all(&mut refused).await, "");

    assert!(ask(inside).await.starts_with("HTTP/1.1 200"));

    held.pop();
    until("a place to be free", || server.open_connections() < 2 + 30).await;
    assert!(ask(outside).await.starts_with("HTTP/1.1 200"));
}
