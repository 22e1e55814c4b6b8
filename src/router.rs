//! The HTTP API for other axum applications.

use std::sync::{Arc, atomic::AtomicBool};

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::KeysError,
    clock::Clock,
    config::Config,
    engine::Engine,
    gate::Gate,
    http::{self, App},
    proxy::ProxyTrust,
    storage::Storage,
    telemetry::Metrics,
};

/// Why there is no router.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The keys that tokens are verified with cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// No thread for the committer.
    #[error("the committer could not be started: {0}")]
    Committer(#[from] std::io::Error),
    /// A defect of this crate.
    #[error("the metrics could not be set up: {0}")]
    Metrics(String),
}

/// The protocol at `http.stream_base_path`, with `/up`, `/healthz`, `/readyz` and `/metrics`, as a
/// router to serve or to merge into another one. To be called within a tokio runtime.
///
/// The gate is that of `config.auth`; without it the router is open. What the router does not
/// do is the host's: listeners, TLS, limits on connections and heads, an allow-list of peers.
/// Forwarding headers are believed as `config.proxy` says where the host says who the peer is (by
/// `into_make_service_with_connect_info::<SocketAddr>()`, or with
/// [`listener::PeerAddr`](crate::listener::PeerAddr) among a request's extensions), and of nobody
/// otherwise.
///
/// `examples/embed.rs` mounts it in an application.
///
/// # Errors
/// See [`EmbedError`].
pub fn build_router(storage: Arc<dyn Storage>, config: &Config) -> Result<Router, EmbedError> {
    build_router_with_ready(
        storage,
        config,
        Arc::new(AtomicBool::new(true)),
        CancellationToken::new(),
    )
}

/// As [`build_router`]; `/readyz` answers 503 until `ready` is true, and live reads end, so that
/// the host can stop, when `stopping` is cancelled.
///
/// # Errors
/// See [`EmbedError`].
pub fn build_router_with_ready(
    storage: Arc<dyn Storage>,
    config: &Config,
    ready: Arc<AtomicBool>,
    stopping: CancellationToken,
) -> Result<Router, EmbedError> {
    let clock = Clock::system();
    let gate = Gate::load(config.auth.as_ref(), &config.http.stream_base_path, clock.clone())?;
    if let Some(authenticator) = gate.authenticator() {
        tokio::spawn(Arc::clone(authenticator).watch());
    }
    let metrics = Arc::new(Metrics::new().map_err(|error| EmbedError::Metrics(error.to_string()))?);
    let engine = Engine::start(storage, config.engine(), Arc::clone(&metrics), clock)?;
    let app = App::new(config.http_settings(), gate, metrics, stopping).ready_when(ready);
    app.ready(engine);
    Ok(http::router(
        app,
        &ProxyTrust::new(&config.proxy, config.transport.mode),
    ))
}

#[cfg(test)]
mod tests {
    use ::http::{Request, StatusCode};
    use axum::body::Body;
    use tower::ServiceExt;

    use super::*;
    use crate::InMemoryStorage;

    #[tokio::test]
    async fn a_nested_router_forks_by_the_paths_that_clients_know() {
        let config = Config::default();
        let base = format!("/api{}", config.http.stream_base_path.trim_end_matches('/'));
        let streams = build_router(Arc::new(InMemoryStorage::new(0)), &config).unwrap();
        let router = Router::new().nest("/api", streams);
        let put = |name: &str, source: Option<&str>| {
            let mut request = Request::put(format!("{base}/{name}"));
            if let Some(source) = source {
                request = request.header("stream-forked-from", format!("{base}/{source}"));
            }
            router.clone().oneshot(request.body(Body::empty()).unwrap())
        };
        assert_eq!(put("a", None).await.unwrap().status(), StatusCode::CREATED);
        assert_eq!(put("b", Some("a")).await.unwrap().status(), StatusCode::CREATED);
    }
}
