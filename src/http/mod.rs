//! The protocol over HTTP: one file for each operation, and one for each thing they share.
//!
//! [`dispatch`] asks the gate first. A handler takes the [`Permit`] that the gate made, so it
//! cannot be called without one.

mod append;
mod body;
mod byte_limit;
pub(crate) mod caching;
mod config;
mod content;
mod cors;
mod create;
mod delete;
mod departures;
mod forward;
mod head;
mod health;
mod list;
mod live;
mod live_shares;
mod long_poll;
mod phase;
mod problem;
pub(crate) mod query;
mod read;
mod relayed;
mod respond;
mod sse;
mod state;
mod stored;
mod subscriptions;

use std::convert::Infallible;

use axum::{Router, body::Body};
use http::{HeaderValue, Method, Request, Response, Version, header, request::Parts};

pub use config::{CachePolicy, HttpConfig, ShutdownConfig};
pub use phase::HolderState;
pub use problem::Problem;
pub use state::{App, Settings};

use phase::Place;

use crate::{
    auth::Permit,
    gate::Admission,
    problems,
    protocol::StreamName,
    proxy::{Origin, ProxyIdentity, ProxyTrust},
    routes::{Operation, labels, mount_points},
};

/// A request's result, and the operation as metrics and the access log call it.
struct Answer {
    label: &'static str,
    result: Result<Response<Body>, Problem>,
}

impl Answer {
    fn new(label: &'static str, result: Result<Response<Body>, Problem>) -> Self {
        Self { label, result }
    }

    fn refused(label: &'static str, problem: impl Into<Problem>) -> Self {
        Self::new(label, Err(problem.into()))
    }
}

/// Parses a body as every request about subscriptions would.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzzing_subscription_body(body: &[u8]) {
    subscriptions::parse_as_all(body);
}

/// The whole server as a service, which routes by itself.
pub fn service(app: App) -> impl crate::listener::HttpService + Sync {
    tower::service_fn(move |request: Request<Body>| {
        let app = app.clone();
        // Boxed: the future is several KiB, and every layer that holds it by value copies it.
        Box::pin(async move { Ok::<_, Infallible>(dispatch(&app, request).await) })
    })
}

/// The same as a router with nothing but the server's own paths, to be merged into another one.
pub fn router(app: App, trust: &ProxyTrust) -> Router {
    let base = app.base().to_owned();
    let service = trust.wrap(service(app));
    mount_points(&base).fold(Router::new(), |router, path| {
        router.route_service(&path, service.clone())
    })
}

async fn dispatch(app: &App, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Answer { label, result } = answer(app, &parts, body).await;
    let mut response = result.unwrap_or_else(|problem| problem.respond(&parts, label, app.random()));
    let headers = response.headers_mut();
    respond::secure(headers);
    if app.phase().has_moved() && parts.version < Version::HTTP_2 {
        // The client's next connection is to the new server, and a stop finds no idle ones.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers.insert(header::VARY, respond::vary(app.gate().is_open()));
    app.cors().allow(&parts.headers, headers);
    app.metrics().request(label, response.status());
    log_access(&parts, label, &response);
    response
}

fn log_access(parts: &Parts, operation: &'static str, response: &Response<Body>) {
    tracing::debug!(
        target: "durable_streams_server::access",
        operation,
        http.request.method = %parts.method,
        url.path = parts.uri.path(),
        http.response.status_code = response.status().as_u16(),
        network.protocol.version = version(parts),
        client.address = parts.extensions.get::<Origin>().and_then(|origin| origin.client_ip).map(tracing::field::display),
        // The user whom the proxy in front has authenticated.
        enduser.id = parts.extensions.get::<ProxyIdentity>().and_then(|identity| identity.0.to_str().ok()),
        "answered"
    );
}

/// The protocol's version in OpenTelemetry's spelling.
fn version(parts: &Parts) -> &'static str {
    match parts.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

async fn answer(app: &App, parts: &Parts, body: Body) -> Answer {
    if !app.phase().is_serving() && parts.method != Method::OPTIONS {
        let place = match health::is_asked(parts) {
            true if app.phase().has_served() || health::needs_no_store(app, parts) => Place::Here,
            true => {
                health::note_probe(app, parts);
                Place::Nowhere
            }
            false => Box::pin(app.phase().place()).await,
        };
        match place {
            Place::Here => {}
            Place::Nowhere => return Answer::new(labels::WAITING, health::while_waiting(app, parts)),
            Place::Successor => {
                return Answer::new(labels::FORWARDED, Box::pin(relayed::forward(app, parts, body)).await);
            }
        }
    }
    match app.gate().admit_parts(parts) {
        Ok(Admission::Granted(permit)) => granted(app, parts, body, &permit).await,
        Ok(Admission::BadName(error)) => Answer::refused(labels::NONE, Problem::bad("stream name", &error.to_string())),
        Ok(Admission::Missing(missing)) => Answer::refused(labels::NONE, missing),
        Err(refusal) => Answer::refused(labels::REFUSED, refusal),
    }
}

/// Calls the handler of the permitted operation.
async fn granted(app: &App, parts: &Parts, body: Body, permit: &Permit) -> Answer {
    let route = permit.route();
    // A live read must not hold on to a body.
    let body = if route.takes_body { body } else { Body::empty() };
    let answer = handle(app, parts, body, permit).await;
    // The store was handed over just before the handler needed it. Those that take a body forward it
    // themselves.
    let is_late = |problem: &Problem| !route.takes_body && problem.is_starting() && app.phase().has_served();
    match &answer.result {
        Err(problem) if is_late(problem) => {
            let forwarded = Box::pin(relayed::forward(app, parts, Body::empty()));
            Answer::new(labels::FORWARDED, forwarded.await)
        }
        _ => answer,
    }
}

/// The handlers with large futures are boxed: one that is held by value makes the future of every
/// request larger.
async fn handle(app: &App, parts: &Parts, body: Body, permit: &Permit) -> Answer {
    let route = permit.route();
    let result = match route.operation {
        Operation::Read => return read::handle(app, permit, parts).await,
        Operation::Metadata => head::handle(app, permit).await,
        Operation::Append | Operation::AppendAndClose | Operation::Close => {
            append::handle(app, permit, parts, body).await
        }
        Operation::Create | Operation::Fork => Box::pin(create::handle(app, permit, parts, body)).await,
        Operation::Delete => delete::handle(app, permit).await,
        Operation::List => Box::pin(list::handle(app, parts)).await,
        Operation::SubscriptionCreate
        | Operation::SubscriptionRead
        | Operation::SubscriptionDelete
        | Operation::SubscriptionList
        | Operation::SubscriptionAddStreams
        | Operation::SubscriptionRemoveStream
        | Operation::SubscriptionPause
        | Operation::SubscriptionResume => Box::pin(subscriptions::manage(app, permit, parts, body)).await,
        Operation::SubscriptionClaim
        | Operation::SubscriptionAck
        | Operation::SubscriptionRelease
        | Operation::SubscriptionCallback => Box::pin(subscriptions::work(app, permit, parts, body)).await,
        Operation::SigningKeys => Box::pin(subscriptions::keys(app)).await,
        Operation::Preflight => Ok(app.cors().preflight(&parts.headers)),
        Operation::Alive => Ok(health::alive()),
        Operation::Ready => health::ready(app),
        Operation::Metrics => health::metrics(app),
    };
    Answer::new(route.label, result)
}

/// The stream that a permit is for.
fn stream(permit: &Permit) -> Result<&StreamName, Problem> {
    permit
        .stream()
        .ok_or_else(|| Problem::new(&problems::BAD_REQUEST, "the path does not name a stream"))
}

#[cfg(test)]
mod tests;
