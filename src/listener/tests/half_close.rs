//! A client that has sent all it had to say ends its side, and still waits for the answers.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::certs::Files;
use super::support::{TIMEOUT, count, read_all, read_until, start_default, until};
use super::tls;
use crate::config::TransportMode;

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

async fn half_closed(address: std::net::SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    read_all(&mut socket).await
}

#[tokio::test]
async fn complete_requests_are_answered() {
    let (_server, address) = start_default();
    let slow = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let sized = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    let cases = [
        (GET.to_owned(), 1),
        (slow.to_owned(), 1),
        (sized.to_owned(), 1),
        (chunked.to_owned(), 1),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), 1),
        (format!("{GET}{slow}{sized}"), 3),
        (format!("{slow}{slow}{GET}{GET}"), 4),
    ];
    for (requests, answers) in cases {
        let seen = half_closed(address, &requests).await;
        assert_eq!(
            count(&seen) + seen.matches("HTTP/1.0 ").count(),
            answers,
            "{requests}\n{seen}"
        );
        assert!(!seen.contains("broken"), "{seen}");
    }
}

#[tokio::test]
async fn an_incomplete_request_is_refused_at_once() {
    let (server, address) = start_default();
    let heads = [
        "GET / HTTP/1.1\r\nHos",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ];
    for head in heads {
        let seen = half_closed(address, head).await;
        assert!(!seen.contains("[hello]"), "{head}\n{seen}");
    }
    until("all to be gone", || server.open_connections() == 1).await;
}

#[tokio::test]
async fn complete_requests_over_tls_are_answered() {
    let files = Files::new();
    let (_server, address) = tls::start(&files.transport(TransportMode::Tls));
    let mut socket = tls::connect(&files, address, "http/1.1").await;
    socket.write_all(format!("{GET}{GET}").as_bytes()).await.unwrap();
    // Sends close_notify, and the end of the TCP stream after it.
    socket.shutdown().await.unwrap();
    let mut seen = String::new();
    let read = tokio::time::timeout(TIMEOUT, socket.read_to_string(&mut seen));
    read.await.unwrap().unwrap();
    assert_eq!(count(&seen), 2, "{seen}");
}

#[tokio::test]
async fn a_live_read_goes_on_for_a_client_that_is_there_and_ends_for_one_that_left() {
    let (server, address) = start_default();
    let live = async || {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket
            .write_all(b"GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        read_until(&mut socket, "data: 1\n\n\r\n").await;
        socket
    };
    let mut there = live().await;
    there.shutdown().await.unwrap();
    // Both probes come, and then nothing for a while.
    read_until(&mut there, ":\n\n\r\n3\r\n:\n\n\r\n").await;
    tokio::time::timeout(Duration::from_secs(1), there.read_u8())
        .await
        .unwrap_err();
    assert_eq!(server.open_connections(), 2);

    drop(live().await);
    until("the one that left to be gone", || server.open_connections() == 2).await;
    drop(there);
}
