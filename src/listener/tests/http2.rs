//! HTTP/2 over TLS: the limit on streams, and the shutdown.

use std::time::Duration;

use super::{
    certs::Files,
    frames::{DATA, GOAWAY, Peer, RST_STREAM},
    tls::start,
};
use crate::listener::{TransportMode, shutdown::Drained};

#[tokio::test]
async fn open_streams_are_limited() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Tls));
    let mut peer = Peer::new(&files, address).await;
    for index in 0..300 {
        peer.get(1 + 2 * index, "/hang").await.unwrap();
    }
    let refused = peer.until(RST_STREAM, 1 + 2 * 299).await;
    assert_eq!(refused.payload, 7_u32.to_be_bytes(), "REFUSED_STREAM");
}

#[tokio::test]
async fn a_stop_lets_streams_finish_and_cuts_the_rest() {
    let files = Files::new();
    let (server, address) = start(&files.transport(TransportMode::Tls));
    let mut peer = Peer::new(&files, address).await;
    peer.get(1, "/hang").await.unwrap();
    peer.get(3, "/").await.unwrap();
    peer.until(DATA, 3).await;
    let stop = tokio::spawn(async move { server.drain(Duration::from_millis(200)).await });
    peer.until(GOAWAY, 0).await;
    peer.ends().await;
    assert_eq!(stop.await.unwrap(), Drained { cut: 1 });
}
