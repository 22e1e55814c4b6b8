//! HTTP/2 clients that do not read: whatever they withhold, nothing is kept for them longer than
//! the write timeout.

use std::time::Duration;

use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};

use super::{
    certs::Files,
    frames::{DATA, END_STREAM, Frame, HEADERS, Peer, RST_STREAM, SETTINGS, WINDOW_UPDATE, initial_window},
    responses::{app, secured},
    support::{Served, connect_http2, short_write_timeout, until},
};
use crate::listener::ConnectionConfig;

const HEADER: u64 = 10;
const WRITE: u64 = 30;

/// The time of a stall is measured in steps of two seconds.
const IN_TIME: std::ops::RangeInclusive<u64> = WRITE..=WRITE + 2;

/// The connection's window, which no setting changes (RFC 9113, section 6.9.2).
const CONNECTION_WINDOW: usize = 65_535;

const LARGE_WINDOW: u32 = 0x0100_0000;

async fn with_window(window: u32) -> (Peer<DuplexStream>, Served) {
    let timeouts = ConnectionConfig {
        header_timeout_secs: HEADER,
        write_timeout_secs: WRITE,
        ..ConnectionConfig::default()
    };
    let (client, served) = connect_http2(app(), &timeouts);
    (Peer::over(client, &initial_window(window)).await, served)
}

async fn next(peer: &mut Peer<DuplexStream>) -> Frame {
    peer.frame().await.expect("the connection should stay open")
}

/// Reads DATA until the connection's window is used up.
async fn exhaust_connection(peer: &mut Peer<DuplexStream>, stream: u32) {
    let mut read = 0;
    while read < CONNECTION_WINDOW {
        read += peer.until(DATA, stream).await.payload.len();
    }
}

/// How many seconds pass between the last DATA of these streams, or now, and their resets.
async fn seconds_to_resets(peer: &mut Peer<DuplexStream>, streams: &[u32]) -> Vec<u64> {
    let mut last_data = vec![Instant::now(); streams.len()];
    let mut resets = Vec::new();
    while resets.len() < streams.len() {
        let frame = next(peer).await;
        let Some(index) = streams.iter().position(|stream| *stream == frame.stream) else {
            continue;
        };
        match frame.kind {
            DATA => {
                assert_eq!(frame.flags & END_STREAM, 0, "stream {} was complete", frame.stream);
                last_data[index] = Instant::now();
            }
            RST_STREAM => resets.push(last_data[index].elapsed().as_secs()),
            _ => {}
        }
    }
    resets
}

fn all_in_time(seconds: &[u64]) -> bool {
    seconds.iter().all(|seconds| IN_TIME.contains(seconds))
}

#[tokio::test(start_paused = true)]
async fn streams_are_reset_in_time_whatever_their_window() {
    // Around the size of a chunk, and that of the connection's window.
    let large = ["/medium", "/own", "/shared", "/frames", "/sized", "/events"];
    for window in [0, 1, 16_383, 16_384, 16_385, 65_535, LARGE_WINDOW] {
        let small: &[_] = if window <= 1 { &["/small", "/problem"] } else { &[] };
        for path in large.iter().chain(small) {
            let (mut peer, served) = with_window(window).await;
            // A third response may be too much for the connection's budget, and be refused.
            for stream in [1, 3] {
                peer.get(stream, path).await.unwrap();
            }
            let seconds = seconds_to_resets(&mut peer, &[1, 3]).await;
            assert!(all_in_time(&seconds), "{path}, window {window}: {seconds:?}");
            assert_eq!(served.shared.responses.charged(), 0, "{path}, window {window}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_a_window_is_reset_when_its_connection_has_none() {
    let (mut peer, served) = with_window(LARGE_WINDOW).await;
    peer.get(1, "/medium").await.unwrap();
    exhaust_connection(&mut peer, 1).await;
    peer.get(3, "/small").await.unwrap();
    let seconds = seconds_to_resets(&mut peer, &[1, 3]).await;
    assert!(all_in_time(&seconds), "{seconds:?}");
    assert_eq!(served.shared.responses.charged(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_window_becomes_negative_is_reset() {
    let (mut peer, served) = with_window(40_000).await;
    peer.get(1, "/medium").await.unwrap();
    peer.until(DATA, 1).await;
    peer.send(SETTINGS, 0, 0, &initial_window(0)).await.unwrap();
    let seconds = seconds_to_resets(&mut peer, &[1]).await;
    assert!(all_in_time(&seconds), "{seconds:?}");
    assert_eq!(served.shared.responses.charged(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_grows_by_a_byte_at_a_time_does_not_prolong_the_timeout() {
    let (mut peer, served) = with_window(0).await;
    peer.get(1, "/medium").await.unwrap();
    peer.until(HEADERS, 1).await;
    let start = Instant::now();
    let mut kind = HEADERS;
    while kind != RST_STREAM {
        sleep(Duration::from_secs(5)).await;
        peer.send(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes()).await.unwrap();
        kind = loop {
            let frame = next(&mut peer).await;
            if [DATA, RST_STREAM].contains(&frame.kind) {
                break frame.kind;
            }
        };
    }
    let reset = start.elapsed().as_secs();
    assert!((WRITE..=WRITE + 5).contains(&reset), "{reset}");
    assert_eq!(served.shared.responses.charged(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_body_needs_no_window() {
    let (mut peer, _served) = with_window(LARGE_WINDOW).await;
    peer.get(1, "/medium").await.unwrap();
    exhaust_connection(&mut peer, 1).await;
    peer.send(SETTINGS, 0, 0, &initial_window(0)).await.unwrap();
    let start = Instant::now();
    peer.get(3, "/empty").await.unwrap();
    assert_eq!(peer.until(HEADERS, 3).await.flags & END_STREAM, END_STREAM);
    assert_eq!(start.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_sends_is_cut() {
    let (mut peer, served) = with_window(LARGE_WINDOW).await;
    peer.get(1, "/frames").await.unwrap();
    let (unread, mut sender) = tokio::io::split(peer.0);
    let start = Instant::now();
    let flood = tokio::spawn(async move {
        // Room on the connection and the stream, so that only the socket holds the response up.
        loop {
            for stream in [0, 1] {
                let mut update = vec![0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, stream];
                update.extend(65_535_u32.to_be_bytes());
                if sender.write_all(&update).await.is_err() {
                    return;
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    served.task.await.unwrap();
    assert!(IN_TIME.contains(&start.elapsed().as_secs()));
    assert_eq!(served.shared.responses.charged(), 0);
    drop(unread);
    flood.await.unwrap();
}

/// In real time, because paused time takes a runtime of one thread: here the connection and its
/// streams run at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn stalled_streams_over_tls_are_reset_on_any_thread() {
    let files = Files::new();
    let (server, address) = secured(&files, &short_write_timeout());
    for window in [0, 1] {
        let mut peer = Peer::with_window(&files, address, window).await;
        let paths = ["/small", "/shared", "/frames", "/events"].iter().cycle().take(40);
        for (stream, path) in (1..).step_by(2).zip(paths) {
            peer.get(stream, path).await.unwrap();
        }
        let mut resets = 0;
        while resets < 40 {
            let frame = peer.frame().await.expect("the connection should stay open");
            resets += usize::from(frame.kind == RST_STREAM);
        }
        until("all of it to be released", || server.charged_response_bytes() == 0).await;
    }
}
