//! Responses that clients do not take: what they may hold in memory, and for how long.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::any;
use futures_util::StreamExt;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::certs::Files;
use super::http2::{DATA, END_STREAM, Peer, RST_STREAM, WINDOW_UPDATE};
use super::support::{bind, connect_from, exchange, read_until, short_timeouts, until};
use crate::clock::Clock;
use crate::config::{ConnectionConfig, LimitsConfig, TransportMode};
use crate::listener::{Server, build_tls_context};

const MIB: usize = 1024 * 1024;

/// `/shared`: one message of 10 MiB for all. `/own`: one of 10 MiB for each request. `/medium`:
/// 1 MiB for each. `/pieces`: without an end, 1 MiB made at a time. `/sized`: 100 MiB, announced, 1 MiB
/// made at a time. `/events`: pieces as events.
/// `/small`: a word. `/problem`: a refusal.
fn app() -> Router {
    let shared = Bytes::from(vec![b'x'; 10 * MIB]);
    let pieces = || {
        let make = futures_util::stream::repeat(()).map(|()| Ok::<_, Infallible>(Bytes::from(vec![b'x'; MIB])));
        Body::from_stream(make)
    };
    Router::new()
        .route("/shared", any(move || async move { shared }))
        .route("/own", any(|| async { vec![b'x'; 10 * MIB] }))
        .route("/medium", any(|| async { vec![b'x'; MIB] }))
        .route("/pieces", any(move || async move { pieces() }))
        .route("/sized", any(|| async { Body::new(Sized(100 * MIB)) }))
        .route(
            "/events",
            any(move || async move { ([("content-type", "text/event-stream")], pieces()) }),
        )
        .route("/small", any(|| async { "a word" }))
        .route("/problem", any(|| async { (StatusCode::CONFLICT, "a problem") }))
}

/// A body of this many bytes, which is announced and made 1 MiB at a time.
struct Sized(usize);

impl http_body::Body for Sized {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.min(MIB);
        self.0 -= next;
        Poll::Ready((next > 0).then(|| Ok(Frame::data(Bytes::from(vec![b'x'; next])))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0 as u64)
    }
}

fn patient() -> ConnectionConfig {
    ConnectionConfig {
        write_timeout_secs: 60,
        ..ConnectionConfig::default()
    }
}

/// Gives up a client that takes nothing soon, and nothing else.
fn impatient() -> ConnectionConfig {
    ConnectionConfig {
        write_timeout_secs: 1,
        ..ConnectionConfig::default()
    }
}

fn plain(limits: &LimitsConfig, connection: &ConnectionConfig) -> (Server, SocketAddr) {
    let server = Server::new(limits, connection, Clock::system());
    let listener = bind("127.0.0.1:0");
    let address = listener.address();
    server.serve_public(listener, app());
    (server, address)
}

fn secured(files: &Files, connection: &ConnectionConfig) -> (Server, SocketAddr) {
    let server = Server::new(&LimitsConfig::default(), connection, Clock::system());
    let listener = bind("127.0.0.1:0");
    let address = listener.address();
    let context = build_tls_context(&files.transport(TransportMode::Tls)).unwrap();
    server.serve_tls(listener, context, app());
    (server, address)
}

/// Waits until the charge has not changed for a moment.
async fn settled(server: &Server) -> usize {
    let mut held = (server.charged_response_bytes(), 0);
    until("the charge to settle", || {
        let now = server.charged_response_bytes();
        held = if now == held.0 { (now, held.1 + 1) } else { (now, 0) };
        held.1 >= 40
    })
    .await;
    held.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_holds_no_more_than_its_share() {
    let files = Files::new();
    // The refused requests' problem documents are held as well.
    const REFUSALS: usize = 60 * 1024;
    // The share, and what was in memory when it was used up.
    for (path, most) in [
        ("/shared", 10 * MIB),
        ("/own", (12 + 10) * MIB + REFUSALS),
        ("/medium", (12 + 1) * MIB),
        ("/pieces", (12 + 1) * MIB),
        ("/sized", (24 + 1) * MIB + REFUSALS),
        ("/events", (12 + 1) * MIB),
        ("/small", 60 * 6),
    ] {
        let (server, address) = secured(&files, &patient());
        let mut peer = Peer::with_window(&files, address, 1).await;
        for index in 0..60 {
            peer.get(1 + 2 * index, path).await.unwrap();
        }
        until("something to be held", || server.charged_response_bytes() > 0).await;
        let held = settled(&server).await;
        assert!(held <= most, "{path}: {held}");
        drop(peer);
        until("all of it to be released", || server.charged_response_bytes() == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_waits_for_room_on_its_connection_and_goes_on() {
    let files = Files::new();
    let (server, address) = secured(&files, &patient());
    let mut peer = Peer::with_window(&files, address, 1).await;
    for index in 0..20 {
        peer.get(1 + 2 * index, "/pieces").await.unwrap();
    }
    settled(&server).await;
    // The first ones go; the others come into their own.
    let mut begun = std::collections::HashSet::new();
    while begun.len() < 20 {
        let frame = peer.frame().await.expect("a frame");
        if frame.kind == DATA && begun.insert(frame.stream) {
            peer.send(RST_STREAM, 0, frame.stream, &8_u32.to_be_bytes())
                .await
                .unwrap();
        }
    }
    until("all of it to be released", || server.charged_response_bytes() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_piece_is_under_the_write_timeout_too() {
    let files = Files::new();
    for (path, window) in [
        ("/small", 1),
        ("/problem", 0),
        ("/medium", 1),
        ("/own", 65_535),
        ("/shared", 1),
    ] {
        let (server, address) = secured(&files, &impatient());
        let mut peer = Peer::with_window(&files, address, window).await;
        for stream in [1, 3, 5] {
            peer.get(stream, path).await.unwrap();
        }
        let mut reset = 0;
        while reset < 3 {
            let frame = peer.frame().await.expect("the connection should have stayed");
            assert!(frame.kind != DATA || frame.flags & END_STREAM == 0, "{path}");
            reset += usize::from(frame.kind == RST_STREAM);
        }
        assert_eq!(server.charged_response_bytes(), 0, "{path}");
    }
    // The stream has a window, and its connection has none.
    let (server, address) = secured(&files, &impatient());
    let mut peer = Peer::with_window(&files, address, 0x0100_0000).await;
    peer.get(1, "/medium").await.unwrap();
    peer.get(3, "/small").await.unwrap();
    for _ in 0..2 {
        while peer.frame().await.expect("the connection should have stayed").kind != RST_STREAM {}
    }
    assert_eq!(server.charged_response_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_response_ends_when_its_last_piece_is_taken() {
    let files = Files::new();
    let (_server, address) = secured(&files, &patient());
    let mut peer = Peer::with_window(&files, address, 4).await;
    peer.get(1, "/small").await.unwrap();
    assert_eq!(peer.until(DATA, 1).await.payload, b"a wo");
    peer.send(WINDOW_UPDATE, 0, 1, &10_u32.to_be_bytes()).await.unwrap();
    assert_eq!(peer.until(DATA, 1).await.payload, b"rd");
    let end = peer.until(DATA, 1).await;
    assert_eq!((end.payload.len(), end.flags & END_STREAM), (0, END_STREAM));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_in_total_a_response_is_refused_until_the_clients_that_take_nothing_are_gone() {
    let limits = LimitsConfig {
        max_response_bytes: 32 * MIB as u64,
        max_response_bytes_per_address: Some(0),
        ..LimitsConfig::default()
    };
    let (server, address) = plain(&limits, &patient());
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut stalled = Vec::new();
    for _ in 0..25 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request("/own").as_bytes()).await.unwrap();
        read_until(&mut socket, "\r\n\r\n").await;
        stalled.push(socket);
    }
    assert!(server.charged_response_bytes() <= (24 + 10) * MIB);
    let refused = exchange(address, request("/medium")).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(
        refused.contains("retry-after: ") && refused.contains("problem+json"),
        "{refused}"
    );
    assert!(exchange(address, request("/small")).await.ends_with("a word"));

    // Long before the write timeout.
    until("room", || server.charged_response_bytes() < 24 * MIB).await;
    let answer = exchange(address, request("/medium")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() > MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_does_not_use_up_the_room_of_others() {
    let limits = LimitsConfig {
        max_response_bytes_per_address: Some(32 * MIB as u64),
        ..LimitsConfig::default()
    };
    let (_server, address) = plain(&limits, &patient());
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let ask = async |from: &str, path: &str| {
        let mut socket = connect_from(from, address).await;
        socket.write_all(request(path).as_bytes()).await.unwrap();
        let head = read_until(&mut socket, "\r\n\r\n").await;
        (head, socket)
    };
    let mut stalled = Vec::new();
    for _ in 0..5 {
        stalled.push(ask("127.0.0.2", "/own").await.1);
    }
    assert!(ask("127.0.0.2", "/medium").await.0.starts_with("HTTP/1.1 503"));
    assert!(ask("127.0.0.2", "/small").await.0.starts_with("HTTP/1.1 200"));
    assert!(ask("127.0.0.3", "/medium").await.0.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_reader_that_takes_nothing_is_charged() {
    let (server, address) = plain(&LimitsConfig::default(), &short_timeouts());
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut socket, "\r\n\r\n").await;
    until("it to be charged", || server.charged_response_bytes() == MIB).await;
    until("it to be dropped", || server.open_connections() == 1).await;
    assert_eq!(server.charged_response_bytes(), 0);
}
