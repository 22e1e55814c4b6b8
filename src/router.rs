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
    random::Random,
    storage::Storage,
    telemetry::Metrics,
    webhook::{Deliverer, DelivererError, SystemResolver},
};

/// Why a router could not be built.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The keys that verify tokens could not be loaded.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The committer's thread could not be started.
    #[error("the committer could not be started: {0}")]
    Committer(#[from] std::io::Error),
    /// A file of `[webhooks]` cannot be used.
    #[error(transparent)]
    Webhooks(#[from] DelivererError),
    /// The metrics could not be registered, which is a defect of this crate.
    #[error("the metrics could not be registered: {0}")]
    Metrics(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The protocol at `http.stream_base_path`, with `/up`, `/healthz`, `/readyz` and `/metrics`, as a
/// router to serve or to merge into another one. Call it within a tokio runtime.
///
/// `config.auth` decides who may do what; without it the router is open. Listeners, TLS, limits on
/// connections and request heads, and an allow-list of peers are the host's responsibility.
/// Forwarding headers are trusted as `config.proxy` says, provided that the host tells the peer's
/// address (with `into_make_service_with_connect_info::<SocketAddr>()`, or with
/// [`listener::PeerAddr`](crate::listener::PeerAddr) in the request's extensions); otherwise they
/// are ignored.
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

/// As [`build_router`], but `/readyz` answers 503 until `ready` is true, and live reads end when
/// `stopping` is cancelled, so that the host can stop.
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
    let metrics = Arc::new(Metrics::new().map_err(|error| EmbedError::Metrics(error.into()))?);
    let deliverer = Arc::new(Deliverer::new(&config.webhooks, Arc::new(SystemResolver))?);
    let engine = Engine::start(storage, config.engine(), Arc::clone(&metrics), clock.clone())?;
    let app = App::new(config.http_settings(), gate, metrics, clock, Random::system(), stopping).ready_when(ready);
    app.serve(engine, &config.subscriptions, &config.webhooks, deliverer);
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
