//! HTTP/1.1 over TLS to the ACME server, for instant-acme: a few small requests every few weeks,
//! each on a connection of its own.

use std::{error::Error as StdError, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// For a whole request, including its connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

type BoxError = Box<dyn StdError + Send + Sync>;

#[derive(Clone)]
pub(super) struct HttpsClient(Arc<ClientConfig>);

impl HttpsClient {
    pub(super) fn new(tls: Arc<ClientConfig>) -> Self {
        Self(tls)
    }
}

impl HttpClient for HttpsClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let tls = Arc::clone(&self.0);
        Box::pin(async move {
            let response = timeout(REQUEST_TIMEOUT, send(tls, request)).await;
            response
                .unwrap_or_else(|_| Err(format!("no response within {} s", REQUEST_TIMEOUT.as_secs()).into()))
                .map_err(Error::Other)
        })
    }
}

async fn send(tls: Arc<ClientConfig>, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, BoxError> {
    let (mut parts, body) = request.into_parts();
    let (host, port) = authority(&parts.uri)?;
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    let name = ServerName::try_from(host)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);

    if let Some(authority) = parts.uri.authority() {
        parts.headers.insert(header::HOST, authority.as_str().parse()?);
    }
    parts
        .headers
        .insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    // The origin form of the request target, as there is no proxy.
    parts.uri = parts.uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let body = Full::new(body.collect().await?.to_bytes());
    let (parts, body) = sender
        .send_request(Request::from_parts(parts, body))
        .await?
        .into_parts();
    let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await?.to_bytes();
    connection.abort();
    Ok(BytesResponse {
        parts,
        body: Box::new(body),
    })
}

fn authority(uri: &Uri) -> Result<(String, u16), BoxError> {
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
    let host = host.ok_or_else(|| format!("{uri} is not an https:// URL"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(443)))
}
