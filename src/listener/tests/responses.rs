//! Responses that clients do not read: what they may hold in memory, and for how long.

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

use super::{
    certs::Files,
    frames::{DATA, END_STREAM, Peer, RST_STREAM, WINDOW_UPDATE},
    support::{bind, connect_from, connect_http1, exchange, read_until, until},
};
use crate::{
    clock::Clock,
    engine::LimitsConfig,
    listener::{ConnectionConfig, TransportMode},
    listener::{Server, build_tls_context},
};

const MIB: usize = 1024 * 1024;

/// `/shared`: the same 10 MiB for all. `/own`: 10 MiB for each request. `/medium`: 1 MiB for each.
/// `/frames`: endless frames of 1 MiB. `/sized`: 100 MiB of known length in such frames. `/events`:
/// endless events of 1 MiB. `/small`: a word. `/problem`: a 409. `/empty`: a 204.
pub(super) fn app() -> Router {
    let shared = Bytes::from(vec![b'x'; 10 * MIB]);
    let frames = || {
        let make = futures_util::stream::repeat(()).map(|()| Ok::<_, Infallible>(Bytes::from(vec![b'x'; MIB])));
        Body::from_stream(make)
    };
    Router::new()
        .route("/shared", any(move || async move { shared }))
        .route("/own", any(|| async { vec![b'x'; 10 * MIB] }))
        .route("/medium", any(|| async { vec![b'x'; MIB] }))
        .route("/frames", any(move || async move { frames() }))
        .route("/sized", any(|| async { Body::new(Sized(100 * MIB)) }))
        .route(
            "/events",
            any(move || async move { ([("content-type", "text/event-stream")], frames()) }),
        )
        .route("/small", any(|| async { "a word" }))
        .route("/problem", any(|| async { (StatusCode::CONFLICT, "a problem") }))
        .route("/empty", any(|| async { StatusCode::NO_CONTENT }))
}

/// A body of known length that is produced 1 MiB at a time.
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

fn long_write_timeout() -> ConnectionConfig {
    ConnectionConfig {
        write_timeout_secs: 60,
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

pub(super) fn secured(files: &Files, connection: &ConnectionConfig) -> (Server, SocketAddr) {
    let server = Server::new(&LimitsConfig::default(), connection, Clock::system());
    let listener = bind("127.0.0.1:0");
    let address = listener.address();
    let context = build_tls_context(&files.transport(TransportMode::Tls)).unwrap();
    server.serve_tls(listener, context, app());
    (server, address)
}

/// Waits until the charge has stopped changing.
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
async fn a_connection_stays_within_its_budget() {
    let files = Files::new();
    // The problem documents of refused requests are charged too.
    const REFUSALS: usize = 60 * 1024;
    // The budget, and what was in memory when it was used up.
    for (path, most) in [
        ("/shared", 10 * MIB),
        ("/own", (12 + 10) * MIB + REFUSALS),
        ("/medium", (12 + 1) * MIB),
        ("/frames", (12 + 1) * MIB),
        ("/sized", (24 + 1) * MIB + REFUSALS),
        ("/events", (12 + 1) * MIB),
        ("/small", 60 * 6),
    ] {
        let (server, address) = secured(&files, &long_write_timeout());
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
    let (server, address) = secured(&files, &long_write_timeout());
    let mut peer = Peer::with_window(&files, address, 1).await;
    for index in 0..20 {
        peer.get(1 + 2 * index, "/frames").await.unwrap();
    }
    settled(&server).await;
    // The first streams are reset, which makes room for the others.
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
async fn a_response_ends_when_its_last_chunk_is_read() {
    let files = Files::new();
    let (_server, address) = secured(&files, &long_write_timeout());
    let mut peer = Peer::with_window(&files, address, 4).await;
    peer.get(1, "/small").await.unwrap();
    assert_eq!(peer.until(DATA, 1).await.payload, b"a wo");
    peer.send(WINDOW_UPDATE, 0, 1, &10_u32.to_be_bytes()).await.unwrap();
    assert_eq!(peer.until(DATA, 1).await.payload, b"rd");
    let end = peer.until(DATA, 1).await;
    assert_eq!((end.payload.len(), end.flags & END_STREAM), (0, END_STREAM));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_memory_a_response_is_refused_until_the_stalled_clients_are_cut() {
    let limits = LimitsConfig {
        max_response_bytes: 32 * MIB as u64,
        max_response_bytes_per_address: Some(0),
        ..LimitsConfig::default()
    };
    let (server, address) = plain(&limits, &long_write_timeout());
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

    // Sooner than the write timeout.
    until("room", || server.charged_response_bytes() < 24 * MIB).await;
    let answer = exchange(address, request("/medium")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.len() > MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_leaves_the_room_of_others_alone() {
    let limits = LimitsConfig {
        max_response_bytes_per_address: Some(32 * MIB as u64),
        ..LimitsConfig::default()
    };
    let (_server, address) = plain(&limits, &long_write_timeout());
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

#[tokio::test(start_paused = true)]
async fn a_stalled_live_reader_is_charged() {
    let (mut client, served) = connect_http1(app(), &ConnectionConfig::default());
    client
        .write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut client, "\r\n\r\n").await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(served.shared.responses.charged(), MIB);
    served.task.await.unwrap();
    assert_eq!(served.shared.responses.charged(), 0);
}
