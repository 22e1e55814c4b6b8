//! An HTTP/2 client that writes single frames.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::{certs::Files, support::TIMEOUT, tls::connect};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
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

pub(super) struct Peer<IO>(pub(super) IO);

impl Peer<TlsStream<TcpStream>> {
    pub(super) async fn new(files: &Files, address: SocketAddr) -> Self {
        Self::over(connect(files, address, "h2").await, &[]).await
    }

    /// `window` is the initial window of each stream.
    pub(super) async fn with_window(files: &Files, address: SocketAddr, window: u32) -> Self {
        Self::over(connect(files, address, "h2").await, &initial_window(window)).await
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Peer<IO> {
    pub(super) async fn over(mut io: IO, settings: &[u8]) -> Self {
        io.write_all(PREFACE).await.unwrap();
        let mut peer = Self(io);
        peer.send(SETTINGS, 0, 0, settings).await.unwrap();
        peer
    }

    pub(super) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags];
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.0.write_all(&bytes).await?;
        self.0.flush().await
    }

    /// `GET path`, in uncompressed HPACK.
    pub(super) async fn get(&mut self, stream: u32, path: &str) -> io::Result<()> {
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
            let frame = self.frame().await.expect("the connection should stay open");
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

    /// Reads until the connection ends, and returns the error code of its GOAWAY.
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

/// The payload of a SETTINGS frame.
pub(super) fn initial_window(window: u32) -> Vec<u8> {
    let mut setting = vec![0, INITIAL_WINDOW_SIZE];
    setting.extend(window.to_be_bytes());
    setting
}

pub(super) fn head(path: &str) -> Vec<u8> {
    // :method GET, :scheme https, :authority x, :path
    let mut head = vec![0x82, 0x87, 0x01, 1, b'x', 0x04, u8::try_from(path.len()).unwrap()];
    head.extend(path.bytes());
    head
}
