//! `/up`, `/healthz`, `/readyz` and `/metrics`.

use axum::body::Body;
use http::{HeaderValue, Method, Response, header, request::Parts};

use super::{App, Problem, caching};
use crate::{
    problems, routes,
    storage::{StoreFigures, Usage},
    telemetry::SharedStoreState,
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

const READY_AND_OPEN: &str =
    "ready\nopen: no auth is configured; anyone who reaches this address may read, write and delete\n";

fn text(body: impl Into<Body>, content_type: HeaderValue) -> Response<Body> {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, caching::NO_STORE);
    response
}

/// `/up` and `/healthz`: the process is alive.
pub(super) fn alive() -> Response<Body> {
    text("ok\n", TEXT)
}

/// `/readyz`: the server takes requests and is not about to stop.
pub(super) fn ready(app: &App) -> Result<Response<Body>, Problem> {
    // The reason names hosts, so only the log has it.
    if app.engine().is_some_and(|engine| engine.store_outage().is_some()) {
        let detail = "the database cannot be reached; the log says why";
        return Err(Problem::new(&problems::STORE_AWAY, detail));
    }
    if app.is_ready() {
        let body = if app.gate().is_open() {
            READY_AND_OPEN
        } else {
            "ready\n"
        };
        return Ok(text(body, TEXT));
    }
    Err(if app.has_no_keys() {
        let detail = "every token is refused, because auth.verify_key holds no key; put one there";
        Problem::new(&problems::NO_KEYS, detail)
    } else {
        Problem::new(&problems::NOT_READY, "the server is starting or stopping")
    })
}

/// Whether a probe or a scrape asks, which the process answers for itself.
pub(super) fn is_asked(parts: &Parts) -> bool {
    let path = parts.uri.path();
    let is_here = |route: &&routes::Route| matches!(route.path, routes::Path::Server(server) if server == path);
    routes::ROUTES.iter().any(|route| is_here(&route))
}

/// Whether this request is answered although the store has never been open. The metrics tell that it is not.
pub(super) fn needs_no_store(app: &App, parts: &Parts) -> bool {
    parts.uri.path() == routes::METRICS && app.phase().waits_for_database()
}

/// A prober that sends traffic only to a ready server would otherwise never see one.
pub(super) fn note_probe(app: &App, parts: &Parts) {
    if [routes::READYZ, routes::HEALTHZ].contains(&parts.uri.path()) {
        app.phase().note_probe();
    }
}

/// Every response while the store is waited for.
pub(super) fn while_waiting(app: &App, parts: &Parts) -> Result<Response<Body>, Problem> {
    if parts.uri.path() == routes::UP && matches!(parts.method, Method::GET | Method::HEAD) {
        return Ok(alive());
    }
    if app.phase().waits_for_database() {
        let detail = "starting: the database cannot be reached yet; the log says why";
        return Err(Problem::new(&problems::STORE_AWAY, detail));
    }
    let detail = "starting: waiting for another process to release the data directory";
    Err(Problem::new(&problems::STARTING, detail))
}

/// All metrics, in Prometheus' text format.
pub(super) fn metrics(app: &App) -> Result<Response<Body>, Problem> {
    if let Some(subscriptions) = app.subscriptions() {
        let (subscriptions, pending_streams, oldest_millis) = subscriptions.lag();
        let metrics = app.metrics().subscriptions();
        metrics.set_lag(subscriptions, pending_streams, oldest_millis);
    }
    let (usage, streams, shared_store) = match app.engine() {
        Some(engine) => {
            let shared_store = engine.store_figures().map(|figures| SharedStoreState {
                figures,
                is_reached: engine.store_outage().is_none(),
            });
            (engine.usage(), engine.streams_in_memory(), shared_store)
        }
        None if app.phase().waits_for_database() => {
            let never_reached = SharedStoreState {
                figures: StoreFigures::default(),
                is_reached: false,
            };
            (Usage::default(), 0, Some(never_reached))
        }
        None => return Err(Problem::starting()),
    };
    let body = app.metrics().render(usage, streams, shared_store.as_ref());
    let body = body.map_err(|error| {
        tracing::error!(%error, "the metrics could not be rendered");
        Problem::new(&problems::METRICS, "the metrics could not be rendered")
    })?;
    Ok(text(body, PROMETHEUS))
}
