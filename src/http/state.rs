//! State shared by all handlers, and the settings that they need.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderName;
use ipnet::IpNet;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{Problem, caching::Caching, cors::Cors, live_shares::LiveShares};
use crate::{
    clock::Clock,
    config::{CachePolicy, Config},
    engine::Engine,
    gate::Gate,
    listener::KeyedLimit,
    problems,
    random::Random,
    telemetry::Metrics,
};

/// One server's HTTP side. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    /// Absent while another process still holds the data directory.
    engine: OnceLock<Engine>,
    gate: Gate,
    metrics: Arc<Metrics>,
    cors: Cors,
    settings: Settings,
    /// One permit for each byte of request bodies in flight.
    body_bytes: Arc<Semaphore>,
    body_shares: Arc<KeyedLimit>,
    live_readers: Arc<Semaphore>,
    live_shares: LiveShares,
    clock: Clock,
    random: Random,
    stopping: CancellationToken,
    /// Set by the host of an embedded router.
    ready: Arc<AtomicBool>,
}

/// The parts of the configuration that handlers need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `http.stream_base_path`
    pub base: String,
    /// The origin for `Location`, if configured.
    pub origin: Option<String>,
    /// `http.cors_origins`
    pub cors_origins: String,
    /// `proxy.identity.header_name`
    pub identity_header: Option<HeaderName>,
    /// Which caches may keep reads.
    pub caching: Caching,
    /// `limits.max_body_bytes`
    pub max_body_bytes: u64,
    /// `limits.max_inflight_bytes`
    pub max_inflight_bytes: usize,
    /// `limits.max_live_readers`
    pub max_live_readers: usize,
    /// `limits.max_live_readers_per_principal`
    pub max_live_readers_per_principal: usize,
    /// `limits.max_live_readers_per_address`
    pub max_live_readers_per_address: usize,
    /// `proxy.trusted_proxies`: each address may stand for many clients.
    pub proxies: Vec<IpNet>,
    /// `transport.connection.body_timeout_secs`
    pub body_timeout: Duration,
    /// `transport.connection.body_total_timeout_secs`
    pub body_total_timeout: Duration,
    /// `transport.connection.long_poll_timeout_secs`
    pub long_poll_timeout: Duration,
    /// `transport.connection.sse_reconnect_interval_secs`; `None`: unlimited.
    pub sse_lifetime: Option<Duration>,
    /// `transport.connection.sse_heartbeat_secs`
    pub sse_heartbeat: Duration,
}

impl Settings {
    /// Takes them from `config`.
    #[must_use]
    pub fn of(config: &Config, gate: &Gate) -> Self {
        let connection = &config.transport.connection;
        let caching = match (config.http.cache, gate.is_open()) {
            (CachePolicy::Public, true) => Caching::Public,
            (CachePolicy::Public, false) => Caching::PublicBySignedUrl,
            (CachePolicy::Auto, true) => Caching::Revalidated,
            (CachePolicy::Private, _) | (CachePolicy::Auto, false) => Caching::Private,
        };
        let identity_header = config.proxy.identity.header_name.as_deref();
        let sse_lifetime = connection.sse_reconnect_interval_secs;
        Self {
            base: config.http.stream_base_path.trim_end_matches('/').to_owned(),
            origin: config.http.origin(
                config.transport.acme.domain.as_deref(),
                config.server.bind_address.port(),
            ),
            cors_origins: config.http.cors_origins.clone(),
            identity_header: identity_header.and_then(|name| name.parse().ok()),
            caching,
            max_body_bytes: config.limits.max_body_bytes,
            max_inflight_bytes: usize::try_from(config.limits.max_inflight_bytes)
                .unwrap_or(usize::MAX)
                .min(Semaphore::MAX_PERMITS),
            max_live_readers: config.limits.max_live_readers.min(Semaphore::MAX_PERMITS),
            max_live_readers_per_principal: config.limits.live_readers_per_principal(),
            max_live_readers_per_address: config.limits.live_readers_per_address(),
            proxies: config.proxy.trusted().to_vec(),
            body_timeout: Duration::from_secs(connection.body_timeout_secs),
            body_total_timeout: Duration::from_secs(connection.body_total_timeout_secs),
            long_poll_timeout: Duration::from_secs(connection.long_poll_timeout_secs),
            sse_lifetime: (sse_lifetime > 0).then(|| Duration::from_secs(sse_lifetime)),
            sse_heartbeat: Duration::from_secs(connection.sse_heartbeat_secs.max(1)),
        }
    }

    /// The share of one client address: half of all bytes, but at least one body.
    fn max_body_bytes_per_address(&self) -> usize {
        let one = usize::try_from(self.max_body_bytes).unwrap_or(usize::MAX);
        (self.max_inflight_bytes / 2).max(one)
    }
}

impl App {
    /// A server that waits for its engine, see [`App::ready`]. Live reads end when `stopping`
    /// is cancelled.
    #[must_use]
    pub fn new(
        settings: Settings,
        gate: Gate,
        metrics: Arc<Metrics>,
        clock: Clock,
        random: Random,
        stopping: CancellationToken,
    ) -> Self {
        let inner = Inner {
            engine: OnceLock::new(),
            gate,
            metrics,
            cors: Cors::new(&settings.cors_origins, settings.identity_header.clone()),
            body_bytes: Arc::new(Semaphore::new(settings.max_inflight_bytes)),
            body_shares: KeyedLimit::new(settings.max_body_bytes_per_address()),
            live_readers: Arc::new(Semaphore::new(settings.max_live_readers)),
            live_shares: LiveShares::new(
                settings.max_live_readers_per_principal,
                settings.max_live_readers_per_address,
            ),
            settings,
            clock,
            random,
            stopping,
            ready: Arc::new(AtomicBool::new(true)),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Makes `/readyz` follow `ready`. Call it before cloning.
    #[must_use]
    pub fn ready_when(mut self, ready: Arc<AtomicBool>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.ready = ready;
        }
        self
    }

    /// Starts serving with this engine. Only the first call counts.
    pub fn ready(&self, engine: Engine) {
        let _ = self.inner.engine.set(engine);
    }

    pub(super) fn engine(&self) -> Option<&Engine> {
        self.inner.engine.get()
    }

    /// The engine, or the refusal while there is none.
    pub(super) fn running(&self) -> Result<&Engine, Problem> {
        self.engine()
            .ok_or_else(|| Problem::new(&problems::STARTING, "the server is starting; try again"))
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub(super) fn random(&self) -> &Random {
        &self.inner.random
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    pub(super) fn cors(&self) -> &Cors {
        &self.inner.cors
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(super) fn base(&self) -> &str {
        &self.inner.settings.base
    }

    pub(super) fn body_bytes(&self) -> &Arc<Semaphore> {
        &self.inner.body_bytes
    }

    pub(super) fn body_shares(&self) -> &Arc<KeyedLimit> {
        &self.inner.body_shares
    }

    pub(super) fn live_readers(&self) -> &Arc<Semaphore> {
        &self.inner.live_readers
    }

    pub(super) fn live_shares(&self) -> &LiveShares {
        &self.inner.live_shares
    }

    pub(super) fn is_ready(&self) -> bool {
        let writes = self.engine().is_some_and(Engine::takes_writes);
        writes && self.inner.ready.load(Relaxed) && !self.inner.stopping.is_cancelled() && !self.has_no_keys()
    }

    /// Whether every token is refused because no key is left.
    pub(super) fn has_no_keys(&self) -> bool {
        self.inner.gate.authenticator().is_some_and(|auth| auth.has_no_keys())
    }

    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.inner.stopping
    }
}
