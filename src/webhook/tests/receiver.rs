//! Receivers on real sockets, and a resolver that answers from a script.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::webhook::{Answer, Deliverer, DeliveryError, Resolve, TargetPolicy, WebhooksConfig};

pub(super) const BODY: &str = r#"{"wake_id":"w_1"}"#;
pub(super) const SIGNATURE: &str = "t=1,kid=ds_1,ed25519=AA";

/// A connection of any kind.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A receiver that handles each connection in the same way.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

/// What a receiver does with a connection once it has read the request.
pub(super) type Behaviour = Arc<dyn Fn(Box<dyn Io>) -> BoxFuture<'static, ()> + Send + Sync>;

pub(super) fn behaviour<F>(act: impl Fn(Box<dyn Io>) -> F + Send + Sync + 'static) -> Behaviour
where
    F: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |stream| Box::pin(act(stream)))
}

/// Writes `bytes` and closes.
pub(super) fn writes(bytes: impl Into<Bytes>) -> Behaviour {
    let bytes = bytes.into();
    behaviour(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            _ = stream.write_all(&bytes).await;
            _ = stream.shutdown().await;
        }
    })
}

pub(super) fn responds(status: &str, body: &str) -> Behaviour {
    writes(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
}

impl Receiver {
    pub(super) async fn start(behaviour: Behaviour) -> Self {
        Self::at("127.0.0.1", None, behaviour).await
    }

    pub(super) async fn at(address: &str, tls: Option<TlsAcceptor>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, behaviour, seen) = (tls.clone(), Arc::clone(&behaviour), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut stream: Box<dyn Io> = match tls {
                        None => Box::new(stream),
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    let Some(request) = read_request(&mut stream).await else {
                        return;
                    };
                    seen.lock().push(request);
                    behaviour(stream).await;
                });
            }
        });
        Self {
            address,
            requests,
            _task: AbortOnDropHandle::new(task),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook?x=1", self.address)
    }

    /// The requests so far, head and body.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

/// A request with a `content-length`.
async fn read_request(stream: &mut Box<dyn Io>) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
            if body.len() >= length.parse().unwrap() {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// A CA, and a TLS receiver with its certificate for `name`.
pub(super) fn certified(name: &str) -> (String, TlsAcceptor) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (ca_certificate.pem(), TlsAcceptor::from(Arc::new(config)))
}

/// Answers in turn, and then always with the last answer.
#[derive(Default)]
pub(super) struct Script {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    pub(super) fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parsed = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(parsed).collect()),
            asked: Mutex::default(),
        })
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

impl Resolve for Script {
    fn resolve(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.lock().push(host);
        let mut answers = self.answers.lock();
        let answer = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        };
        Box::pin(async move { answer.ok_or_else(|| io::Error::other("no such host")) })
    }
}

pub(super) fn local() -> WebhooksConfig {
    WebhooksConfig {
        allow_local_http: true,
        ..WebhooksConfig::default()
    }
}

pub(super) fn listing(hosts: &[&str]) -> WebhooksConfig {
    WebhooksConfig {
        allowed_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        ..WebhooksConfig::default()
    }
}

pub(super) async fn deliver_by(
    config: &WebhooksConfig,
    resolver: Arc<dyn Resolve>,
    url: &str,
) -> Result<Answer, DeliveryError> {
    let url = TargetPolicy::new(config).check(url).unwrap();
    let deliverer = Deliverer::new(config, resolver).unwrap();
    let slot = deliverer.slot(&url).await;
    deliverer
        .deliver(slot, &url, Bytes::from_static(BODY.as_bytes()), SIGNATURE)
        .await
}

/// To a local receiver.
pub(super) async fn deliver(url: &str) -> Result<Answer, DeliveryError> {
    deliver_by(&local(), Script::new(&[]), url).await
}

pub(super) fn failure(result: Result<Answer, DeliveryError>) -> DeliveryError {
    result.unwrap_err()
}
