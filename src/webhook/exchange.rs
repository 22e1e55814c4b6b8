//! One request to a receiver, on a connection of its own: what was checked is what is connected to.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::{
    DeliveryError, WebhookUrl,
    answer::{Answer, answer},
    target::CheckedAddress,
};

/// Bytes of a response's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const USER_AGENT: &str = concat!("durable-streams-server/", env!("CARGO_PKG_VERSION"));

/// A request to a receiver.
pub(super) struct Exchange<'a> {
    pub(super) url: &'a WebhookUrl,
    pub(super) body: Bytes,
    pub(super) signature: &'a str,
    pub(super) tls: &'a Arc<ClientConfig>,
    pub(super) max_response_bytes: usize,
    pub(super) deadline: Instant,
}

impl Exchange<'_> {
    /// Sends the request to the first address that accepts a connection.
    pub(super) async fn run(self, addresses: &[CheckedAddress]) -> Result<Answer, DeliveryError> {
        let stream = self.connect(addresses).await?;
        match self.url.server_name() {
            None => self.send(stream).await,
            Some(name) => {
                let connector = TlsConnector::from(Arc::clone(self.tls));
                let stream = connector.connect(name, stream).await.map_err(DeliveryError::Tls)?;
                self.send(stream).await
            }
        }
    }

    /// Each address has an equal share of the time that is left.
    async fn connect(&self, addresses: &[CheckedAddress]) -> Result<TcpStream, DeliveryError> {
        let mut failure = DeliveryError::Resolve(None);
        for (tried, address) in (0u32..).zip(addresses) {
            let left = u32::try_from(addresses.len())
                .unwrap_or(u32::MAX)
                .saturating_sub(tried)
                .max(1);
            let share = self.deadline.saturating_duration_since(Instant::now()) / left;
            let address: SocketAddr = address.socket();
            let connected = timeout(share, TcpStream::connect(address)).await;
            let source = match connected {
                Ok(Ok(stream)) => {
                    // The request is written at once, and nothing is left to be gathered.
                    _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(source)) => source,
                Err(_) => io::Error::from(io::ErrorKind::TimedOut),
            };
            failure = DeliveryError::Connect { address, source };
        }
        Err(failure)
    }

    async fn send(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Answer, DeliveryError> {
        let request = Request::post(self.url.path_and_query())
            .header(header::HOST, self.url.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONNECTION, "close")
            .header("webhook-signature", self.signature)
            .body(Full::new(self.body))
            .map_err(DeliveryError::Request)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(DeliveryError::Http)?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let response = sender.send_request(request).await.map_err(DeliveryError::Http)?;
        let status = response.status();
        if !status.is_success() {
            return Err(DeliveryError::Status(status));
        }
        let body = read_body(response.into_body(), self.max_response_bytes).await?;
        answer(status, body.as_deref()).ok_or(DeliveryError::Status(status))
    }
}

/// The body; `None` if it is longer than `max_bytes`.
async fn read_body(mut body: Incoming, max_bytes: usize) -> Result<Option<BytesMut>, DeliveryError> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(DeliveryError::Http)?.into_data() else {
            continue;
        };
        if read.len().saturating_add(data.len()) > max_bytes {
            return Ok(None);
        }
        read.extend_from_slice(&data);
    }
    Ok(Some(read))
}
