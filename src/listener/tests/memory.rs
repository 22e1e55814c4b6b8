//! What an idle reader costs. Run it alone:
//! `cargo test --lib -- --ignored --nocapture what_an_idle_reader_costs`

use std::io::{Read, Write};
use std::net::TcpStream;

use super::support::{app, bind, until};
use crate::clock::Clock;
use crate::config::{ConnectionConfig, LimitsConfig};
use crate::listener::Server;

const READERS: usize = 2000;

/// The process's resident memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn read_live(address: std::net::SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    // A head as browsers send it.
    let head = format!(
        "GET /ticks?token={} HTTP/1.1\r\nHost: streams.example.test\r\nAccept: text/event-stream\r\nUser-Agent: {}\r\n\r\n",
        "t".repeat(400),
        "u".repeat(120)
    );
    socket.write_all(head.as_bytes()).unwrap();
    let mut seen = [0; 1024];
    let mut length = 0;
    while !seen[..length].ends_with(b"\n\n\r\n") {
        length += socket.read(&mut seen[length..]).unwrap();
    }
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn what_an_idle_reader_costs() {
    let server = Server::new(&LimitsConfig::default(), &ConnectionConfig::default(), Clock::system());
    let listener = bind("127.0.0.1:0");
    let address = listener.address();
    server.serve_public(listener, app());
    let connect = move |count: usize| (0..count).map(|_| read_live(address)).collect::<Vec<_>>();

    let warm = tokio::task::spawn_blocking(move || connect(50)).await.unwrap();
    let before = resident();
    let readers = tokio::task::spawn_blocking(move || connect(READERS)).await.unwrap();
    until("all of them to be in", || server.open_connections() > READERS).await;
    println!("{} bytes for an idle reader", (resident() - before) / READERS);
    drop((warm, readers));
}
