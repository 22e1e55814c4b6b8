//! The graceful shutdown.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::{TIMEOUT, app, connect_http1, read_all, read_until, start_default, until};
use crate::listener::{ConnectionConfig, shutdown::Drained};

#[tokio::test]
async fn idle_connections_do_not_delay_a_stop() {
    let (server, address) = start_default();
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut idle, "Public").await;
    until("both connections to be accepted", || server.open_connections() == 3).await;
    let stop = tokio::spawn(async move { server.drain(TIMEOUT).await });
    assert_eq!(read_all(&mut idle).await, "");
    drop((idle, _silent));
    assert_eq!(stop.await.unwrap(), Drained { cut: 0 });
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn a_request_in_flight_is_finished_first() {
    let (server, address) = start_default();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe")
        .await
        .unwrap();
    until("the connection to be accepted", || server.open_connections() == 2).await;
    let stopping = server.stopping();
    let stop = tokio::spawn(async move { server.drain(TIMEOUT).await });
    stopping.cancelled().await;
    socket.write_all(b"llo").await.unwrap();
    let answer = read_all(&mut socket).await;
    assert!(
        answer.contains("[hello]") && answer.contains("connection: close"),
        "{answer}"
    );
    drop(socket);
    assert_eq!(stop.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn connections_that_do_not_end_are_cut() {
    let (server, address) = start_default();
    let mut hanging = TcpStream::connect(address).await.unwrap();
    hanging
        .write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut live = TcpStream::connect(address).await.unwrap();
    live.write_all(b"GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut live, "data: 1").await;
    until("both connections to be accepted", || server.open_connections() == 3).await;
    assert_eq!(server.drain(Duration::from_millis(50)).await, Drained { cut: 2 });
    assert_eq!(read_all(&mut hanging).await, "");
}

#[tokio::test]
async fn a_connection_that_was_not_yet_accepted_is_served() {
    let (server, address) = start_default();
    // The kernel completes it, and nothing has run that could accept it.
    let mut early = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut early, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(server.drain(TIMEOUT).await, Drained { cut: 0 });
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut early, &mut answer).unwrap();
    assert!(
        answer.contains("Public") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_on_a_kept_connection_is_answered_although_the_server_stops() {
    let start = tokio::time::Instant::now();
    let (mut kept, served) = connect_http1(app(), &ConnectionConfig::default());
    let (mut idle, other) = connect_http1(app(), &ConnectionConfig::default());
    for socket in [&mut kept, &mut idle] {
        socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_until(socket, "Public").await;
    }
    served.shared.stop.send();
    other.shared.stop.send();
    tokio::task::yield_now().await;
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_all(&mut kept).await;
    assert!(
        answer.contains("Public") && answer.contains("connection: close"),
        "{answer}"
    );
    assert_eq!(read_all(&mut idle).await, "");
    other.task.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_given_two_seconds() {
    let start = tokio::time::Instant::now();
    let timeouts = ConnectionConfig {
        header_timeout_secs: 30,
        ..ConnectionConfig::default()
    };
    let (mut silent, served) = connect_http1(app(), &timeouts);
    let (mut late, other) = connect_http1(app(), &timeouts);
    tokio::task::yield_now().await;
    served.shared.stop.send();
    other.shared.stop.send();
    tokio::task::yield_now().await;
    late.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let answer = read_all(&mut late).await;
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(read_all(&mut silent).await, "");
    served.task.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 2);
}
