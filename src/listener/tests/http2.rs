//! HTTP/2 with frames of our own making, honest and hostile (RFC 9113, section 10.5).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::certs::Files;
use super::support::{TIMEOUT, app, bind, short_timeouts, until};
use super::tls::{connect, start};
use crate::clock::Clock;
use crate::config::{ConnectionConfig, LimitsConfig, TransportMode};
use crate::listener::{Server, build_tls_context, shutdown::Drained};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// A setting (RFC 9113, section 6.5.2).
const INITIAL_WINDOW_SIZE: u8 = 4;

pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

pub(super) struct Peer(pub(super) TlsStream<TcpStream>);

impl Peer {
    pub(super) async fn new(files: &Files, address: std::net::SocketAddr) -> Self {
        Self::with_settings(files, address, &[]).await
    }

    /// A client whose streams begin with a window of this size.
    pub(super) async fn with_window(files: &Files, address: std::net::SocketAddr, window: u32) -> Self {
        let mut setting = vec![0, INITIAL_WINDOW_SIZE];
        setting.extend(window.to_be_bytes());
        Self::with_settings(files, address, &setting).await
    }

    async fn with_settings(files: &Files, address: std::net::SocketAddr, settings: &[u8]) -> Self {
        let mut stream = connect(files, address, "h2").await;
        stream.write_all(PREFACE).await.unwrap();
        let mut peer = Self(stream);
        peer.send(SETTINGS, 0, 0, settings).await.unwrap();
        peer
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.0.write_all(&bytes).await?;
        self.0.flush().await
    }

    /// `GET path`, in HPACK without any compression.
    pub(super) async fn get(&mut self, stream: u32, path: &str) -> std::io::Result<()> {
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &head(path)).await
    }

    /// The next frame, or `None` when the connection is over.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        let next = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; length as usize];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Some(Frame {
                kind: head[3],
                flags: head[4],
                stream,
                payload,
            })
        };
        let frame = timeout(TIMEOUT, next).await.expect("a frame or the end")?;
        if frame.kind == SETTINGS && frame.flags & 1 == 0 {
            self.send(SETTINGS, 1, 0, &[]).await.ok()?;
        }
        if frame.kind == PING && frame.flags & 1 == 0 {
            self.send(PING, 1, 0, &frame.payload).await.ok()?;
        }
        Some(frame)
    }

    /// Reads until a frame of this kind on this stream.
    pub(super) async fn until(&mut self, kind: u8, stream: u32) -> Frame {
        loop {
            let frame = self.frame().await.expect("the connection should have stayed");
            assert!(
                kind == GOAWAY || frame.kind != GOAWAY,
                "{:?}",
                String::from_utf8_lossy(&frame.payload)
            );
            if frame.kind == kind && frame.stream == stream {
                return frame;
            }
        }
    }

    /// Reads whatever comes until the connection ends, and returns the reason given for it.
    pub(super) async fn ends(&mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.frame().await {
            if frame.kind == GOAWAY {
                reason = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
            }
        }
        reason
    }
}

pub(super) fn start_with(files: &Files, connection: &ConnectionConfig) -> (Server, std::net::SocketAddr) {
    let server = Server::new(&LimitsConfig::default(), connection, Clock::system());
    let listener = bind("127.0.0.1:0");
    let address = listener.address();
    let context = build_tls_context(&files.transport(TransportMode::Tls)).unwrap();
    server.serve_tls(listener, context, app());
    (server, address)
}

pub(super) fn head(path: &str) -> Vec<u8> {
    // :method GET, :scheme https, :authority x, :path
    let mut head = vec![0x82, 0x87, 0x01, 1, b'x', 0x04, u8::try_from(path.len()).unwrap()];
    head.extend(path.bytes());
    head
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Tls));
    let mut peer = Peer::new(&files, address).await;
    peer.get(1, "/").await.unwrap();
    peer.until(DATA, 1).await;
    peer.until(GOAWAY, 0).await;
    peer.ends().await;
}

#[tokio::test]
async fn a_peer_that_never_begins_is_cut() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Tls));
    let mut silent = connect(&files, address, "h2").await;
    let mut seen = Vec::new();
    timeout(TIMEOUT, silent.read_to_end(&mut seen)).await.unwrap().ok();
    // A head that never ends counts as nothing begun.
    let mut peer = Peer::new(&files, address).await;
    peer.send(HEADERS, END_STREAM, 1, &head("/")).await.unwrap();
    peer.ends().await;
}

#[tokio::test]
async fn a_live_read_holds_its_connection_open() {
    let files = Files::new();
    let (server, address) = start(&files.transport(TransportMode::Tls));
    let before = server.open_connections();
    let mut peer = Peer::new(&files, address).await;
    peer.get(1, "/ticks").await.unwrap();
    peer.until(DATA, 1).await;
    // Twice every timeout of this server; it pings in the meantime.
    let quiet = timeout(Duration::from_secs(2), async {
        loop {
            let frame = peer.frame().await.expect("the connection should have stayed");
            assert!([SETTINGS, PING, WINDOW_UPDATE].contains(&frame.kind), "{}", frame.kind);
        }
    });
    quiet.await.unwrap_err();
    peer.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).await.unwrap();
    peer.ends().await;
    until("it to be gone", || server.open_connections() == before).await;
}

#[tokio::test]
async fn a_reader_that_opens_no_window_is_dropped_and_its_neighbour_stays() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Tls));
    let mut peer = Peer::new(&files, address).await;
    peer.get(1, "/ticks").await.unwrap();
    peer.until(DATA, 1).await;
    peer.send(WINDOW_UPDATE, 0, 0, &0x0010_0000_u32.to_be_bytes())
        .await
        .unwrap();
    peer.get(3, "/endless").await.unwrap();
    peer.until(DATA, 3).await;
    // Never a window update for 3: only that exchange is given up.
    peer.until(RST_STREAM, 3).await;
    peer.get(5, "/").await.unwrap();
    peer.until(DATA, 5).await;
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let files = Files::new();
    let (_server, address) = start(&files.transport(TransportMode::Tls));
    let mut peer = Peer::new(&files, address).await;
    peer.get(1, "/endless").await.unwrap();
    let mut taken = 0;
    // Longer than the write timeout, a little at a time.
    for _ in 0..12 {
        while taken < 65_535 {
            taken += peer.until(DATA, 1).await.payload.len();
        }
        taken = 0;
        tokio::time::sleep(Duration::from_millis(150)).await;
        peer.send(WINDOW_UPDATE, 0, 0, &65_535_u32.to_be_bytes()).await.unwrap();
        peer.send(WINDOW_UPDATE, 0, 1, &65_535_u32.to_be_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn exchanges_at_a_time_are_bounded() {
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
async fn a_kept_connection_outlives_the_timeout_for_a_head() {
    let files = Files::new();
    let connection = ConnectionConfig {
        idle_timeout_secs: 60,
        ..short_timeouts()
    };
    let (_server, address) = start_with(&files, &connection);
    let mut peer = Peer::new(&files, address).await;
    for stream in [1, 3] {
        peer.get(stream, "/").await.unwrap();
        peer.until(DATA, stream).await;
        let quiet = timeout(Duration::from_millis(1500), async {
            loop {
                assert_ne!(peer.frame().await.expect("no end").kind, GOAWAY);
            }
        });
        quiet.await.unwrap_err();
    }
}

#[tokio::test]
async fn a_stop_lets_exchanges_finish_and_cuts_the_rest() {
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

#[tokio::test]
async fn a_stop_does_not_wait_for_a_mute_peer() {
    let files = Files::new();
    let mut patient = short_timeouts();
    patient.header_timeout_secs = 60;
    patient.idle_timeout_secs = 60;
    let (server, address) = start_with(&files, &patient);
    let mut peer = Peer::new(&files, address).await;
    peer.get(1, "/").await.unwrap();
    peer.until(DATA, 1).await;
    // From here on it answers nothing, not even the farewell.
    let stop = timeout(Duration::from_secs(20), server.drain(Duration::from_secs(30)));
    assert_eq!(stop.await.unwrap(), Drained { cut: 0 });
}
