//! Requests that reach a server after it has handed its store over: the next holder answers them.

use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header, request::Parts};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncWriteExt as _,
    time::{Instant, sleep},
};

use super::{App, Problem, phase::Place};
use crate::{
    handover::{self, Client, Opening, Tls},
    listener::{ListenerKind, PeerAddr, TlsInfo},
    problems,
    protocol::Offset,
    proxy::{Origin, Scheme},
    unix_socket,
};

/// Headers of one connection, which are not forwarded (RFC 9110 section 7.6.1).
const OF_THE_CONNECTION: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    HeaderName::from_static("keep-alive"),
];

/// How long reads are repeated whose answering server ends before its answer. It may be replaced.
const MAX_REPEAT: Duration = Duration::from_secs(10);

const REPEAT_INTERVAL: Duration = Duration::from_millis(10);

/// The head of a request to the next holder.
pub(super) struct Head {
    client: Client,
    method: Method,
    target: String,
    headers: HeaderMap,
}

impl Head {
    fn of(parts: &Parts) -> Self {
        let mut headers = parts.headers.clone();
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in OF_THE_CONNECTION.into_iter().chain(named) {
            headers.remove(name);
        }
        // hyper has taken the body apart, and frames it again.
        headers.remove(header::CONTENT_LENGTH);
        // The body is already being read, so the client no longer waits for a 100.
        headers.remove(header::EXPECT);
        // HTTP/2 has the host in the target.
        let authority = parts.uri.authority().map(|authority| authority.as_str());
        if let Some(host) = authority.and_then(|authority| HeaderValue::from_str(authority).ok()) {
            headers.insert(header::HOST, host);
        }
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        Self {
            client: client_of(parts),
            method: parts.method.clone(),
            target: target.to_owned(),
            headers,
        }
    }
}

fn client_of(parts: &Parts) -> Client {
    let extensions = &parts.extensions;
    let origin = extensions.get::<Origin>();
    Client {
        peer: extensions.get::<PeerAddr>().map(|peer| peer.0),
        internal: extensions.get::<ListenerKind>() == Some(&ListenerKind::Internal),
        tls: extensions.get::<TlsInfo>().map(|tls| Tls {
            client_cert: tls.client_cert,
            http2: tls.http2,
        }),
        https: origin.is_some_and(|origin| origin.scheme == Scheme::Https),
        host: origin
            .and_then(|origin| origin.host.as_ref())
            .map(|host| host.as_str().to_owned()),
        address: origin.and_then(|origin| origin.client_ip),
    }
}

/// A live read as it goes on at the next holder. Kept for as long as the read lasts, so it has
/// only what the gate needs.
pub(super) struct Continuation {
    client: Client,
    path: String,
    /// The parameters that do not change, encoded, each with `&` after it.
    parameters: String,
    authorization: Option<HeaderValue>,
}

impl Continuation {
    /// `None` if this server's store is never handed over.
    pub(super) fn of(app: &App, parts: &Parts) -> Option<Box<Self>> {
        app.phase().dir()?;
        let query = parts.uri.query().unwrap_or_default();
        let mut kept = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if name != "offset" {
                kept.append_pair(&name, &value);
            }
        }
        // Copied: the original keeps the connection's buffer alive.
        let authorization = parts.headers.get(header::AUTHORIZATION);
        let copied = authorization.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        Some(Box::new(Self {
            client: client_of(parts),
            path: parts.uri.path().to_owned(),
            parameters: kept.finish(),
            authorization: copied,
        }))
    }

    /// The body of the same read from `offset` on; `None` if the next holder refuses it. The client
    /// is told why when it comes back.
    pub(super) async fn follow(&self, app: &App, offset: Offset) -> Option<Body> {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let head = Head {
            client: self.client.clone(),
            method: Method::GET,
            target: format!("{}?{}&offset={offset}", self.path, self.parameters),
            headers,
        };
        let answer = send(app, head, Body::empty()).await.ok()?;
        answer.status().is_success().then(|| answer.into_body())
    }
}

/// Has the next holder answer a request, if the store is handed over.
pub(super) async fn forward(app: &App, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
    if !app.phase().has_served() || app.phase().place().await == Place::Nowhere {
        return Err(Problem::starting());
    }
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return send(app, Head::of(parts), body).await;
    }
    let until = Instant::now() + MAX_REPEAT;
    loop {
        match send(app, Head::of(parts), Body::empty()).await {
            Err(problem) if problem.is_successor_lost() && Instant::now() < until => sleep(REPEAT_INTERVAL).await,
            answered => return answered,
        }
    }
}

async fn send(app: &App, head: Head, body: Body) -> Result<Response<Body>, Problem> {
    let dir = app.phase().dir().ok_or_else(Problem::starting)?;
    let mut stream = handover::connect(dir).await.map_err(|error| {
        tracing::warn!(%error, "no server has taken over the data directory");
        Problem::starting()
    })?;
    let lost = |error: &dyn std::fmt::Display| {
        tracing::warn!(%error, "a request was forwarded and not answered");
        Problem::new(
            &problems::SUCCESSOR_LOST,
            "the server that took over ended before it answered",
        )
    };
    let line = unix_socket::line(&Opening::Request(head.client)).map_err(|error| lost(&error))?;
    stream.write_all(&line).await.map_err(|error| lost(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| lost(&error))?;
    tokio::spawn(connection);
    let mut request = Request::new(body);
    *request.method_mut() = head.method;
    *request.uri_mut() = head.target.parse::<Uri>().map_err(|error| lost(&error))?;
    *request.headers_mut() = head.headers;
    let headers = request.headers_mut();
    headers
        .entry(header::HOST)
        .or_insert(HeaderValue::from_static("localhost"));
    let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
    let mut response = response.map(Body::new);
    *response.version_mut() = Version::default();
    for name in OF_THE_CONNECTION {
        response.headers_mut().remove(name);
    }
    Ok(response)
}
