//! The load generator's HTTP clients. Their cost does not count, but they share the machine, so
//! they do as little as possible.

mod http1;
mod http2;

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
};

use bytes::Bytes;
use http_body_util::Full;

pub use self::http2::TlsClient;
use self::{http1::Http1, http2::Http2};

/// A pre-encoded request.
pub enum Request {
    Http1(Vec<u8>),
    Http2(Box<http::Request<Full<Bytes>>>),
}

/// The checked parts of a response.
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub length: usize,
    pub next_offset: String,
    pub up_to_date: bool,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.into())
}

/// One keep-alive connection with one request at a time.
pub enum Connection {
    Http1(Http1),
    Http2(Http2),
}

impl Connection {
    /// Connects by HTTP/2 over TLS if a TLS client is given, otherwise by plain HTTP/1.1.
    pub async fn open(address: SocketAddr, tls: Option<&TlsClient>) -> io::Result<Self> {
        Self::with_buffer(address, tls, 256 * 1024).await
    }

    /// The same with a read buffer of this size (HTTP/1.1 only).
    pub async fn with_buffer(address: SocketAddr, tls: Option<&TlsClient>, size: usize) -> io::Result<Self> {
        Ok(match tls {
            Some(tls) => Self::Http2(Http2::open(address, tls).await?),
            None => Self::Http1(Http1::open(address, size).await?),
        })
    }

    /// Sends a request and reads the whole response; the body goes to `keep`, or is only counted.
    pub async fn call(&mut self, request: &Request, keep: Option<&mut Vec<u8>>) -> io::Result<Response> {
        match (self, request) {
            (Self::Http1(connection), Request::Http1(request)) => connection.call(request, keep).await,
            (Self::Http2(connection), Request::Http2(request)) => connection.call(request, keep).await,
            _ => Err(bad("a request of the other HTTP version")),
        }
    }

    /// Sends a request and reads the response head; `count` sees the rest.
    pub async fn open_stream(&mut self, request: &Request) -> io::Result<Response> {
        match (self, request) {
            (Self::Http1(connection), Request::Http1(request)) => connection.open_stream(request).await,
            (Self::Http2(connection), Request::Http2(request)) => connection.open_stream(request).await,
            _ => Err(bad("a request of the other HTTP version")),
        }
    }

    /// Waits for the next bytes of an open stream and counts a byte in them.
    pub async fn count(&mut self, byte: u8) -> io::Result<u64> {
        let count = |bytes: &[u8]| bytes.iter().filter(|&&other| other == byte).count() as u64;
        match self {
            Self::Http1(connection) => Ok(count(connection.read().await?)),
            Self::Http2(connection) => Ok(count(&connection.read().await?)),
        }
    }
}
