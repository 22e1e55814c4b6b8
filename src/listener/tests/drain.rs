use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::{TIMEOUT, read_all, read_until, start_default, until};
use crate::listener::shutdown::Drained;

#[tokio::test]
async fn idle_connections_do_not_delay_a_stop() {
    let (server, address) = start_default();
    let _silent = TcpStream::connect(address).await.unwrap();
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut idle, "Public").await;
    until("both to be in", || server.open_connections() == 3).await;
    let stop = tokio::spawn(async move { server.drain(TIMEOUT).await });
    assert_eq!(read_all(&mut idle).await, "");
    drop((idle, _silent));
    assert_eq!(stop.await.unwrap(), Drained { cut: 0 });
    TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn a_request_under_way_is_finished_first() {
    let (server, address) = start_default();
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe")
        .await
        .unwrap();
    until("it to be in", || server.open_connections() == 2).await;
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
async fn what_does_not_end_is_cut() {
    let (server, address) = start_default();
    let mut hanging = TcpStream::connect(address).await.unwrap();
    hanging
        .write_all(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut live = TcpStream::connect(address).await.unwrap();
    live.write_all(b"GET /ticks HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    read_until(&mut live, "data: 1").await;
    until("both to be in", || server.open_connections() == 3).await;
    assert_eq!(server.drain(Duration::from_millis(50)).await, Drained { cut: 2 });
    assert_eq!(read_all(&mut hanging).await, "");
}
