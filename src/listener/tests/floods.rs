//! HTTP/2 floods (RFC 9113, section 10.5), and traffic that only looks like one.

use std::time::Duration;

use tokio::{
    io::AsyncWriteExt,
    time::{sleep, timeout},
};

use super::{
    certs::{Files, curl},
    frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Peer, RST_STREAM, head},
    support::{TIMEOUT, app, connect_http2},
    tls::start,
};
use crate::listener::{ConnectionConfig, TransportMode};

/// Error codes (RFC 9113, section 7).
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Requests that are cancelled at once.
fn cancelled(first: u32, count: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    for index in 0..count {
        let stream = (first + 2 * index).to_be_bytes();
        let head = head("/hang");
        let length = u8::try_from(head.len()).unwrap();
        bytes.extend([0, 0, length, HEADERS, END_STREAM | END_HEADERS]);
        bytes.extend(stream);
        bytes.extend(head);
        bytes.extend([0, 0, 4, RST_STREAM, 0]);
        bytes.extend(stream);
        bytes.extend(CANCEL.to_be_bytes());
    }
    bytes
}

/// A POST whose body follows.
fn post(path: &str) -> Vec<u8> {
    let mut head = head(path);
    head[0] = 0x83;
    head
}

/// DATA frames of one size.
fn data(stream: u32, count: usize, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), DATA, 0];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame.repeat(count)
}

#[tokio::test]
async fn unread_tiny_frames_do_not_pile_up() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Tls));
    for payload in [&b""[..], b"x", b"xy"] {
        let mut peer = Peer::new(&files, address).await;
        peer.send(HEADERS, END_HEADERS, 1, &post("/hang")).await.unwrap();
        // The server may close the connection before all of it is sent.
        let _ = peer.0.write_all(&data(1, 30_000, payload)).await;
        assert_eq!(peer.ends().await, Some(ENHANCE_YOUR_CALM), "{payload:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_of_tiny_frames_that_is_read_arrives() {
    let (client, _served) = connect_http2(app(), &ConnectionConfig::default());
    let mut peer = Peer::over(client, &[]).await;
    peer.send(HEADERS, END_HEADERS, 1, &post("/")).await.unwrap();
    // In total more than may be unread at a time (514).
    for _ in 0..40 {
        peer.0.write_all(&data(1, 40, b"x")).await.unwrap();
        // Time advances once the server has read all of it.
        sleep(Duration::from_millis(10)).await;
    }
    peer.send(DATA, END_STREAM, 1, b"").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"]") {
        answer.extend(peer.until(DATA, 1).await.payload);
    }
    let body = answer.split(|byte| *byte == b'[').next_back().unwrap();
    assert_eq!(body.len(), 1600 + 1);
}

#[tokio::test]
async fn a_page_that_is_left_cancels_its_requests_and_keeps_its_connection() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Tls));
    let mut peer = Peer::new(&files, address).await;
    let mut stream = 1;
    for at_once in [48, 22, 40, 120] {
        peer.0.write_all(&cancelled(stream, at_once)).await.unwrap();
        stream += 2 * at_once;
        peer.get(stream, "/").await.unwrap();
        peer.until(DATA, stream).await;
        stream += 2;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_cancelling_is_cut() {
    let (client, served) = connect_http2(app(), &ConnectionConfig::default());
    let mut peer = Peer::over(client, &[]).await;
    let mut cancelled_requests = 0;
    // h2 counts no request that is accepted before the next ones arrive; our own limit does.
    while !served.task.is_finished() {
        // The server may close the connection before all of it is sent.
        let _ = peer.0.write_all(&cancelled(1 + 2 * cancelled_requests, 20)).await;
        cancelled_requests += 20;
        assert!(cancelled_requests < 1000);
        sleep(Duration::from_millis(5)).await;
    }
    assert!(cancelled_requests > 500, "{cancelled_requests}");
    timeout(TIMEOUT, served.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn floods_end_their_connection_and_hurt_no_other() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Tls));

    // Rapid reset, in one write, so that the server finds all of them reset.
    let mut peer = Peer::new(&files, address).await;
    let flood = cancelled(1, 5000);
    // The server may close the connection before all of it is sent.
    let _ = peer.0.write_all(&flood).await;
    assert_eq!(peer.ends().await, Some(ENHANCE_YOUR_CALM));

    // An endless head.
    let mut peer = Peer::new(&files, address).await;
    peer.send(HEADERS, END_STREAM, 1, &head("/")).await.unwrap();
    for _ in 0..100 {
        peer.send(CONTINUATION, 0, 1, &[]).await.unwrap();
    }
    assert_eq!(peer.ends().await, Some(ENHANCE_YOUR_CALM));

    // A huge head: a literal of 16,000 bytes, repeated.
    let mut peer = Peer::new(&files, address).await;
    peer.send(HEADERS, END_STREAM, 1, &head("/")).await.unwrap();
    let mut field = vec![0x00, 1, b'a', 0x7f, 0x81, 0x7c];
    field.extend(vec![b'v'; 16_000]);
    for _ in 0..20 {
        peer.send(CONTINUATION, 0, 1, &field).await.unwrap();
    }
    assert_eq!(peer.ends().await, Some(ENHANCE_YOUR_CALM));

    let answer = curl(&files.path("ca.pem"), address.port(), &["--http2"]).await.unwrap();
    assert!(answer.contains("HTTP/2.0"), "{answer}");
}
