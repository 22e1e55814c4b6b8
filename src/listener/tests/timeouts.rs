//! The timeouts of connections in memory, in paused time.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep, timeout},
};

use super::{
    frames::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, Peer, RST_STREAM, SETTINGS, WINDOW_UPDATE, head},
    support::{Served, app, connect_http1, connect_http2, read_all, read_until},
};
use crate::listener::ConnectionConfig;

const HEADER: u64 = 10;
const IDLE: u64 = 50;
const WRITE: u64 = 30;
/// After GOAWAY.
const GRACE: u64 = 5;

fn timeouts() -> ConnectionConfig {
    ConnectionConfig {
        header_timeout_secs: HEADER,
        idle_timeout_secs: IDLE,
        write_timeout_secs: WRITE,
        ..ConnectionConfig::default()
    }
}

fn http1() -> (DuplexStream, Served) {
    connect_http1(app(), &timeouts())
}

async fn http2() -> (Peer<DuplexStream>, Served) {
    let (client, served) = connect_http2(app(), &timeouts());
    (Peer::over(client, &[]).await, served)
}

/// How many seconds `work` takes.
async fn seconds(work: impl Future) -> u64 {
    let start = Instant::now();
    work.await;
    start.elapsed().as_secs()
}

async fn get(client: &mut DuplexStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_whole_request_is_closed() {
    for start in ["", "GET / HTTP/1.1\r\nHo"] {
        let (mut client, _served) = http1();
        client.write_all(start.as_bytes()).await.unwrap();
        assert_eq!(seconds(read_all(&mut client)).await, HEADER, "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trickled_head_does_not_prolong_the_timeout() {
    let (mut client, _served) = http1();
    let trickle = async {
        client.write_all(b"GET / HTTP/1.1\r\nX: ").await?;
        loop {
            client.write_all(b"x").await?;
            sleep(Duration::from_millis(100)).await;
        }
    };
    let start = Instant::now();
    let ended: std::io::Result<()> = trickle.await;
    ended.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), HEADER);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_outlives_the_header_timeout_and_is_closed() {
    let (mut client, _served) = http1();
    for _ in 0..2 {
        get(&mut client, "/slow").await;
        read_until(&mut client, "slow").await;
        sleep(Duration::from_secs(IDLE - 1)).await;
    }
    get(&mut client, "/").await;
    read_until(&mut client, "[]").await;
    assert_eq!(seconds(read_all(&mut client)).await, IDLE);

    let (mut client, _served) = http1();
    get(&mut client, "/slow").await;
    read_until(&mut client, "slow").await;
    sleep(Duration::from_secs(IDLE - 1)).await;
    // The start of a head is under the header timeout again.
    client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(seconds(read_all(&mut client)).await, HEADER);
}

#[tokio::test(start_paused = true)]
async fn a_silent_live_response_stays_open_until_its_client_leaves() {
    let (mut client, served) = http1();
    get(&mut client, "/ticks").await;
    read_until(&mut client, "data: 1\n\n\r\n").await;
    let hour = Duration::from_secs(3600);
    timeout(hour, client.read_u8()).await.unwrap_err();
    drop(client);
    served.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_live_client_gets_two_probes_and_then_silence() {
    let (mut client, _served) = http1();
    get(&mut client, "/ticks").await;
    read_until(&mut client, "data: 1\n\n\r\n").await;
    client.shutdown().await.unwrap();
    const PROBE: &str = "3\r\n:\n\n\r\n";
    assert_eq!(seconds(read_until(&mut client, PROBE)).await, 0);
    assert_eq!(seconds(read_until(&mut client, PROBE)).await, 1);
    timeout(Duration::from_secs(3600), client.read_u8()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_cut() {
    let (mut client, served) = http1();
    get(&mut client, "/endless").await;
    read_until(&mut client, "200 OK").await;
    assert_eq!(seconds(served.task).await, WRITE);
}

#[tokio::test(start_paused = true)]
async fn an_http2_connection_without_a_whole_request_is_closed() {
    let (mut client, _served) = connect_http2(app(), &timeouts());
    let silent = seconds(read_all(&mut client)).await;
    assert!((HEADER..=HEADER + GRACE).contains(&silent), "{silent}");
    let (mut peer, _served) = http2().await;
    peer.send(HEADERS, END_STREAM, 1, &head("/")).await.unwrap();
    // Not even SETTINGS may be acknowledged inside of a head.
    assert_eq!(seconds(read_all(&mut peer.0)).await, HEADER + GRACE);
}

#[tokio::test(start_paused = true)]
async fn an_idle_http2_connection_outlives_the_header_timeout_and_gets_a_goaway() {
    let (mut peer, _served) = http2().await;
    for stream in [1, 3] {
        peer.get(stream, "/slow").await.unwrap();
        peer.until(DATA, stream).await;
    }
    assert_eq!(seconds(peer.until(GOAWAY, 0)).await, IDLE);
    peer.ends().await;
}

#[tokio::test(start_paused = true)]
async fn a_live_response_keeps_an_http2_connection_open() {
    let (mut peer, served) = http2().await;
    peer.get(1, "/ticks").await.unwrap();
    peer.until(DATA, 1).await;
    // The server pings, and the peer answers.
    let quiet = timeout(Duration::from_secs(3600), async {
        loop {
            let frame = peer.frame().await.expect("the connection should stay open");
            assert!([SETTINGS, PING, WINDOW_UPDATE].contains(&frame.kind), "{}", frame.kind);
        }
    });
    quiet.await.unwrap_err();
    peer.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).await.unwrap();
    peer.ends().await;
    served.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_live_http2_client_that_answers_no_ping_is_cut() {
    let (mut peer, served) = http2().await;
    peer.get(1, "/ticks").await.unwrap();
    peer.until(DATA, 1).await;
    let cut = seconds(timeout(Duration::from_secs(3600), served.task)).await;
    assert!((HEADER + WRITE..=HEADER + WRITE + GRACE).contains(&cut), "{cut}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_is_reset_and_its_neighbour_stays() {
    let (mut peer, _served) = http2().await;
    peer.get(1, "/ticks").await.unwrap();
    peer.until(DATA, 1).await;
    peer.send(WINDOW_UPDATE, 0, 0, &0x0010_0000_u32.to_be_bytes())
        .await
        .unwrap();
    peer.get(3, "/endless").await.unwrap();
    peer.until(DATA, 3).await;
    // Stream 3 never gets a larger window.
    assert_eq!(seconds(peer.until(RST_STREAM, 3)).await, WRITE);
    peer.get(5, "/").await.unwrap();
    peer.until(DATA, 5).await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_http2_reader_gets_everything() {
    let (mut peer, _served) = http2().await;
    peer.get(1, "/endless").await.unwrap();
    for _ in 0..12 {
        let mut read = 0;
        while read < 65_535 {
            read += peer.until(DATA, 1).await.payload.len();
        }
        sleep(Duration::from_secs(WRITE * 2 / 3)).await;
        peer.send(WINDOW_UPDATE, 0, 0, &65_535_u32.to_be_bytes()).await.unwrap();
        peer.send(WINDOW_UPDATE, 0, 1, &65_535_u32.to_be_bytes()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_unresponsive_http2_peer_does_not_delay_a_shutdown() {
    let (mut peer, served) = http2().await;
    peer.send(HEADERS, END_STREAM | END_HEADERS, 1, &head("/"))
        .await
        .unwrap();
    peer.until(DATA, 1).await;
    // From here on the peer does not even answer the GOAWAY.
    served.shared.stop.send();
    assert_eq!(seconds(served.task).await, GRACE);
}
