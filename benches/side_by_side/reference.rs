//! A bare hyper server with canned responses: the lower bound for a server on hyper.

use std::{convert::Infallible, io, net::Ipv4Addr, path::PathBuf, sync::Arc};

use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::broadcast,
};
use tokio_rustls::TlsAcceptor;

use crate::MIB;

type Body = BoxBody<Bytes, Infallible>;

/// Options that start this program as the bare hyper server.
#[derive(Args)]
pub struct ReferenceOptions {
    #[arg(long, hide = true)]
    reference_server: Option<u16>,
    /// Serves HTTP/2 over TLS with this certificate instead of plain HTTP/1.1.
    #[arg(long, hide = true, requires = "reference_key")]
    reference_cert: Option<PathBuf>,
    #[arg(long, hide = true)]
    reference_key: Option<PathBuf>,
    /// Verifies each request's token with this key.
    #[arg(long, hide = true)]
    reference_verify: Option<PathBuf>,
}

struct State {
    small: Bytes,
    large: Bytes,
    events: broadcast::Sender<Bytes>,
    verify: Option<DecodingKey>,
    validation: Validation,
}

impl ReferenceOptions {
    pub fn port(&self) -> Option<u16> {
        self.reference_server
    }

    /// Serves until it is killed.
    pub async fn serve(&self, port: u16) -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let tls = self.acceptor()?;
        let verify = match &self.reference_verify {
            Some(path) => Some(DecodingKey::from_ec_pem(&std::fs::read(path)?).map_err(io::Error::other)?),
            None => None,
        };
        let state = Arc::new(State {
            small: Bytes::from(vec![b'x'; 1024]),
            large: Bytes::from(vec![b'x'; MIB]),
            events: broadcast::channel::<Bytes>(1024).0,
            verify,
            validation: Validation::new(Algorithm::ES256),
        });
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let (state, tls) = (Arc::clone(&state), tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => speak_http1(socket, state).await,
                    Some(tls) => {
                        if let Ok(socket) = tls.accept(socket).await {
                            speak_http2(socket, state).await;
                        }
                    }
                }
            });
        }
    }

    fn acceptor(&self) -> io::Result<Option<TlsAcceptor>> {
        let (Some(certificate), Some(key)) = (&self.reference_cert, &self.reference_key) else {
            return Ok(None);
        };
        let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate], key))
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }
}

async fn speak_http1(socket: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

async fn speak_http2(socket: impl AsyncRead + AsyncWrite + Unpin, state: Arc<State>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    let _ = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(socket), service)
        .await;
}

fn is_allowed(request: &Request<Incoming>, state: &State) -> bool {
    let Some(key) = &state.verify else { return true };
    let token = request
        .headers()
        .get("authorization")
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    token.is_some_and(|token| jsonwebtoken::decode::<serde_json::Value>(token, key, &state.validation).is_ok())
}

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Response<Body>, Infallible> {
    let mut response = Response::builder()
        .header("stream-next-offset", "0_1")
        .header("stream-up-to-date", "true");
    let live = request.uri().query().is_some_and(|query| query.contains("live=sse"));
    let large = request.uri().path().ends_with("large");
    let body = if !is_allowed(&request, &state) {
        response = response.status(StatusCode::UNAUTHORIZED);
        Full::default().boxed()
    } else if request.method() == Method::POST {
        if let Ok(body) = request.into_body().collect().await {
            let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            let event =
                format!("event: data\ndata: {text}\n\nevent: control\ndata: {{\"streamNextOffset\":\"0_1\"}}\n\n");
            let _ = state.events.send(event.into());
        }
        response = response.status(StatusCode::NO_CONTENT);
        Full::default().boxed()
    } else if live {
        response = response.header("content-type", "text/event-stream");
        let events = stream::unfold(state.events.subscribe(), |mut events| async move {
            events.recv().await.ok().map(|event| (Ok(Frame::data(event)), events))
        });
        BodyExt::boxed(StreamBody::new(events))
    } else if large {
        Full::new(state.large.clone()).boxed()
    } else {
        Full::new(state.small.clone()).boxed()
    };
    Ok(response.body(body).unwrap_or_default())
}
