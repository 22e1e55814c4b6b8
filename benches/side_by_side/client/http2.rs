//! HTTP/2 over TLS with hyper and rustls.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::TlsConnector;

use super::{Response, bad};

/// Trusts one certificate and speaks HTTP/2 only.
#[derive(Clone)]
pub struct TlsClient(TlsConnector);

impl TlsClient {
    pub fn new(certificate_pem: &str) -> Result<Self, String> {
        let explain = |error: &dyn std::fmt::Display| format!("cannot set up TLS: {error}");
        let mut roots = rustls::RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|e| explain(&e))?;
        roots.add(certificate).map_err(|e| explain(&e))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| explain(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

/// One connection; its task ends with it.
pub struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
    stream: Option<Incoming>,
}

impl Http2 {
    pub async fn open(address: SocketAddr, tls: &TlsClient) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let encrypted = tls.0.connect(name, socket).await?;
        if encrypted.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(bad("the server did not agree on HTTP/2"));
        }
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(encrypted))
            .await
            .map_err(io::Error::other)?;
        let task = tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            task,
            stream: None,
        })
    }

    async fn send(&mut self, request: &http::Request<Full<Bytes>>) -> io::Result<(Response, Incoming)> {
        self.sender.ready().await.map_err(io::Error::other)?;
        let answer = self
            .sender
            .send_request(request.clone())
            .await
            .map_err(io::Error::other)?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let response = Response {
            status: answer.status().as_u16(),
            length: 0,
            next_offset: header("stream-next-offset").unwrap_or_default().to_owned(),
            up_to_date: header("stream-up-to-date") == Some("true"),
        };
        Ok((response, answer.into_body()))
    }

    pub async fn call(
        &mut self,
        request: &http::Request<Full<Bytes>>,
        mut keep: Option<&mut Vec<u8>>,
    ) -> io::Result<Response> {
        let (mut response, mut body) = self.send(request).await?;
        while let Some(bytes) = next(&mut body).await? {
            response.length += bytes.len();
            if let Some(kept) = &mut keep {
                kept.extend_from_slice(&bytes);
            }
        }
        Ok(response)
    }

    pub async fn open_stream(&mut self, request: &http::Request<Full<Bytes>>) -> io::Result<Response> {
        let (response, body) = self.send(request).await?;
        self.stream = Some(body);
        Ok(response)
    }

    pub async fn read(&mut self) -> io::Result<Bytes> {
        let body = self.stream.as_mut().ok_or_else(|| bad("no stream is open"))?;
        next(body).await?.ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

/// The next bytes of a body. Trailers are skipped.
async fn next(body: &mut Incoming) -> io::Result<Option<Bytes>> {
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(io::Error::other)?.into_data() {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.task.abort();
    }
}
