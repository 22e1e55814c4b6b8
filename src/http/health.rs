//! `/up`, `/healthz`, `/readyz`, `/metrics`, and what is not there.

use axum::body::Body;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};

use super::{App, Problem, caching};
use crate::protocol::{NameError, StreamName};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

const READY_AND_OPEN: &str =
    "ready\nopen: no auth is configured; anyone who reaches this address may read, write and delete\n";

fn text(body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
    response.headers_mut().insert(header::CACHE_CONTROL, caching::NO_STORE);
    response
}

/// `/up` and `/healthz`: the process lives. `/readyz`: it serves, and is not about to stop.
pub(super) fn respond(app: &App, parts: &Parts) -> Result<Response<Body>, Problem> {
    match parts.uri.path() {
        "/up" | "/healthz" => Ok(text("ok\n")),
        "/readyz" if app.is_ready() && app.gate().is_open() => Ok(text(READY_AND_OPEN)),
        "/readyz" if app.is_ready() => Ok(text("ready\n")),
        "/readyz" if app.has_no_keys() => Err(Problem::come_back(
            "no-keys",
            "every token is refused, because auth.verify_key holds no key; put one there",
        )),
        "/readyz" => Err(Problem::come_back("not-ready", "the server is starting or stopping")),
        _ => Err(Problem::no_such_path()),
    }
}

/// While another process holds the data directory: alive, and nothing else.
pub(super) fn while_waiting(parts: &Parts) -> Result<Response<Body>, Problem> {
    match parts.uri.path() {
        "/up" if matches!(parts.method, Method::GET | Method::HEAD) => Ok(text("ok\n")),
        _ => Err(Problem::come_back(
            "starting",
            "the server waits for another one to release the data directory; try again",
        )),
    }
}

/// Everything that is counted, as Prometheus reads it.
pub(super) fn metrics(app: &App) -> Result<Response<Body>, Problem> {
    let engine = app.running()?;
    let failed = |error: prometheus::Error| {
        tracing::error!(%error, "metrics could not be written");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "metrics",
            "the metrics could not be written",
        )
    };
    let body = app
        .metrics()
        .render(engine.usage(), engine.streams_in_memory())
        .map_err(failed)?;
    let mut response = text(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    Ok(response)
}

/// A path that is not there, or a method that its path does not have.
pub(super) fn no_such_operation(app: &App, parts: &Parts) -> Problem {
    let path = parts.uri.path();
    let below = path.strip_prefix(app.base()).and_then(|rest| rest.strip_prefix('/'));
    let allowed = match (path, below) {
        ("/up" | "/healthz" | "/readyz" | "/metrics", _) | (_, Some("__ds/streams")) => "GET, HEAD",
        (_, Some(name)) if StreamName::from_path(name) != Err(NameError::Reserved) => {
            "GET, HEAD, POST, PUT, DELETE, OPTIONS"
        }
        _ => return Problem::no_such_path(),
    };
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        format!("this path has the methods {allowed}"),
    )
    .with(header::ALLOW, HeaderValue::from_static(allowed))
}
