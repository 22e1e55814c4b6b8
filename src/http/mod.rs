//! The protocol over HTTP: one file for each operation, one for what they share.
//!
//! [`dispatch`] asks the gate first; a handler gets the [`Permit`] that the gate
//! made, and cannot be called without one.

mod append;
mod body;
pub(crate) mod caching;
mod config;
mod content;
mod cors;
mod create;
mod delete;
mod head;
mod health;
mod list;
mod live;
mod long_poll;
mod problem;
pub(crate) mod query;
mod read;
mod respond;
mod sse;
mod state;
mod stored;

use std::convert::Infallible;

use axum::{Router, body::Body};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts};

pub use config::{CachePolicy, HttpConfig};
pub use problem::Problem;
pub use state::{App, Settings};

use crate::{
    auth::{Operation, Permit},
    gate::{Admission, Listener},
    listener::ListenerKind,
    protocol::StreamName,
    proxy::{Origin, ProxyIdentity, ProxyTrust},
};

/// The whole server as a service: it looks at the path itself.
pub fn service(app: App) -> impl crate::listener::HttpService + Sync {
    tower::service_fn(move |request: Request<Body>| {
        let app = app.clone();
        // Boxed: it is several KiB, and whoever holds a future by value copies it more than once.
        Box::pin(async move { Ok::<_, Infallible>(dispatch(&app, request).await) })
    })
}

/// The same as a router that can be merged into another one: it only has the paths that are ours.
pub fn router(app: App, trust: &ProxyTrust) -> Router {
    let base = app.base().to_owned();
    let service = trust.wrap(service(app));
    let mut router = Router::new();
    for path in ["/up", "/healthz", "/readyz", "/metrics"] {
        router = router.route_service(path, service.clone());
    }
    router
        .route_service(&format!("{base}/"), service.clone())
        .route_service(&format!("{base}/{{*name}}"), service)
}

/// Answers a request.
async fn dispatch(app: &App, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let (operation, result) = answer(app, &parts, body).await;
    let mut response = match result {
        Ok(response) => response,
        Err(problem) => problem.respond(&parts, operation),
    };
    respond::secure(response.headers_mut());
    if !app.gate().is_open() {
        // A browser's own cache must not show one user what another was shown.
        let authorization = HeaderValue::from_static("Authorization");
        response.headers_mut().append(header::VARY, authorization);
    }
    app.cors().allow(&parts.headers, response.headers_mut());
    app.metrics().request(operation, response.status().as_u16());
    tracing::debug!(
        target: "durable_streams_server::access",
        operation,
        http.request.method = %parts.method,
        url.path = parts.uri.path(),
        http.response.status_code = response.status().as_u16(),
        network.protocol.version = version(&parts),
        client.address = parts.extensions.get::<Origin>().and_then(|origin| origin.client_ip).map(display),
        // Whom the proxy in front says that it has authenticated.
        enduser.id = parts.extensions.get::<ProxyIdentity>().and_then(|identity| identity.0.to_str().ok()),
        "answered"
    );
    response
}

/// The protocol's version as OpenTelemetry has it.
fn version(parts: &Parts) -> &'static str {
    match parts.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// Answers a request, and names the operation that it was.
async fn answer(app: &App, parts: &Parts, body: Body) -> (&'static str, Result<Response<Body>, Problem>) {
    if app.engine().is_none() && parts.method != Method::OPTIONS {
        return ("waiting", health::while_waiting(parts));
    }
    let listener = match parts.extensions.get::<ListenerKind>() {
        Some(ListenerKind::Internal) => Listener::Internal,
        Some(ListenerKind::Public) | None => Listener::Public,
    };
    match app.gate().admit_parts(parts, listener) {
        Ok(Admission::Granted(permit)) => granted(app, parts, body, &permit).await,
        Ok(Admission::Public) if parts.method == Method::OPTIONS => {
            ("preflight", Ok(app.cors().preflight(&parts.headers)))
        }
        // The gate lets them through without a token on the internal listener only.
        Ok(Admission::Public) if parts.uri.path() == "/metrics" => ("metrics", health::metrics(app)),
        Ok(Admission::Public) => ("health", health::respond(app, parts)),
        Ok(Admission::BadName(error)) => ("none", Err(Problem::bad("stream name", &error.to_string()))),
        Ok(Admission::OwnToken) => ("none", Err(Problem::no_such_path())),
        Ok(Admission::NoSuchOperation) => ("none", Err(health::no_such_operation(app, parts))),
        Err(refusal) => ("refused", Err(refusal.into())),
    }
}

async fn granted(
    app: &App,
    parts: &Parts,
    body: Body,
    permit: &Permit,
) -> (&'static str, Result<Response<Body>, Problem>) {
    let body = match permit.operation() {
        Operation::Read | Operation::Metadata | Operation::Delete | Operation::List | Operation::Metrics => {
            // Not held through a live read.
            Body::empty()
        }
        _ => body,
    };
    match permit.operation() {
        Operation::Create | Operation::Fork => ("create", create::handle(app, permit, parts, body).await),
        Operation::Append | Operation::AppendAndClose | Operation::Close => {
            ("append", append::handle(app, permit, parts, body).await)
        }
        Operation::Read => read::handle(app, permit, parts).await,
        Operation::Metadata => ("metadata", head::handle(app, permit).await),
        Operation::Delete => ("delete", delete::handle(app, permit).await),
        Operation::List => ("list", list::handle(app, parts).await),
        Operation::Metrics => ("metrics", health::metrics(app)),
        Operation::Subscriptions => ("none", Err(Problem::no_such_path())),
    }
}

/// The stream that a permit is for.
fn stream(permit: &Permit) -> Result<&StreamName, Problem> {
    permit
        .stream()
        .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "bad-request", "the path names no stream"))
}
