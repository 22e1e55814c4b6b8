//! State shared by all handlers, and the settings that they need.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use http::HeaderName;
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    CachePolicy, HttpConfig, Problem,
    byte_limit::ByteLimit,
    caching::{Caching, Clocks},
    cors::Cors,
    live_shares::LiveShares,
    phase::{HolderState, Phase, Running, Tenure},
};
use crate::{
    clock::Clock,
    engine::{Engine, LimitsConfig},
    gate::Gate,
    listener::{ConnectionConfig, KeyedLimit},
    proxy::ProxyConfig,
    random::Random,
    subscriptions::{self, Subscriptions, SubscriptionsConfig},
    telemetry::Metrics,
    webhook::{Deliverer, WebhooksConfig},
};

/// One server's HTTP side. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    /// Absent until this server has first opened its store.
    engine: OnceLock<ArcSwap<Engine>>,
    /// Those of the current tenure; absent without one, or if they are disabled.
    subscriptions: ArcSwapOption<Subscriptions>,
    gate: Gate,
    metrics: Arc<Metrics>,
    cors: Cors,
    caching: Caching,
    settings: Settings,
    /// The memory of request bodies in flight.
    body_bytes: ByteLimit,
    body_shares: Arc<KeyedLimit>,
    live_readers: Arc<Semaphore>,
    live_shares: LiveShares,
    clock: Clock,
    random: Random,
    stopping: CancellationToken,
    phase: Phase,
    /// Set by the host of an embedded router.
    ready: Arc<AtomicBool>,
}

/// The sections of the configuration that handlers need.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[http]`
    pub http: HttpConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[transport.connection]`
    pub connection: ConnectionConfig,
    /// `[proxy]`, whose addresses stand for many clients.
    pub proxy: ProxyConfig,
    /// How long live reads take to end when the server stops, at most.
    pub spread: Duration,
    /// The origin for `Location`, if configured.
    pub origin: Option<String>,
    /// `subscriptions.public_url`
    pub subscriptions_url: Option<String>,
}

impl Settings {
    fn caching(&self, is_open: bool) -> Caching {
        match (self.http.cache, is_open) {
            (CachePolicy::Public, true) => Caching::Public,
            (CachePolicy::Public, false) => Caching::PublicBySignedUrl,
            (CachePolicy::Auto, true) => Caching::Revalidated,
            (CachePolicy::Private, _) | (CachePolicy::Auto, false) => Caching::Private,
        }
    }

    fn identity_header(&self) -> Option<HeaderName> {
        self.proxy.identity.header_name.as_deref()?.parse().ok()
    }

    fn max_live_readers(&self) -> usize {
        self.limits.max_live_readers.min(Semaphore::MAX_PERMITS)
    }

    /// The memory of all request bodies.
    fn max_inflight_bytes(&self) -> usize {
        usize::try_from(self.limits.max_inflight_bytes).unwrap_or(usize::MAX)
    }

    /// The share of one client address: half of all bytes, but at least one body.
    fn max_body_bytes_per_address(&self) -> usize {
        let one = usize::try_from(self.limits.max_body_bytes).unwrap_or(usize::MAX);
        (self.max_inflight_bytes() / 2).max(one)
    }
}

impl App {
    /// A server that waits for its engine, see [`App::ready`]. Live reads end when `stopping`
    /// is cancelled. Must be called within a tokio runtime.
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
            subscriptions: ArcSwapOption::empty(),
            caching: settings.caching(gate.is_open()),
            gate,
            metrics,
            cors: Cors::new(&settings.http, settings.identity_header()),
            body_bytes: ByteLimit::new(settings.max_inflight_bytes()),
            body_shares: KeyedLimit::new(settings.max_body_bytes_per_address()),
            live_readers: Arc::new(Semaphore::new(settings.max_live_readers())),
            live_shares: LiveShares::new(
                settings.limits.live_readers_per_principal(),
                settings.limits.live_readers_per_address(),
            ),
            settings,
            clock,
            random,
            phase: Phase::new(&stopping),
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

    /// Starts the subscriptions of this engine if they are enabled, and serves with both from now
    /// on.
    pub fn serve(
        &self,
        engine: Engine,
        config: &SubscriptionsConfig,
        webhooks: &WebhooksConfig,
        deliverer: Arc<Deliverer>,
    ) {
        if config.enabled {
            let started = Subscriptions::start(subscriptions::Parts {
                engine: engine.clone(),
                config: config.clone(),
                webhooks: webhooks.clone(),
                deliverer,
                metrics: self.metrics().subscriptions().clone(),
                random: self.random().clone(),
            });
            match started {
                Ok(subscriptions) => self.inner.subscriptions.store(Some(Arc::new(subscriptions))),
                Err(error) => tracing::error!(%error, "subscriptions cannot be started"),
            }
        }
        self.ready(engine);
    }

    /// The subscriptions, if there is a store and they are enabled.
    #[must_use]
    pub fn subscriptions(&self) -> Option<Arc<Subscriptions>> {
        self.inner.subscriptions.load_full()
    }

    /// Ends the subscriptions of this tenure. Deliveries in flight may take `max_wait`.
    pub async fn stop_subscriptions(&self, max_wait: Duration) {
        if let Some(subscriptions) = self.inner.subscriptions.swap(None) {
            subscriptions.stop(max_wait).await;
        }
    }

    /// Serves with this engine from now on.
    pub fn ready(&self, engine: Engine) {
        let engine = Arc::new(engine);
        let current = self.inner.engine.get_or_init(|| ArcSwap::from(Arc::clone(&engine)));
        current.store(engine);
        self.phase().serve();
    }

    /// Allows the store in `dir` to be handed over.
    pub fn hands_over(&self, dir: PathBuf) {
        self.phase().set_dir(dir);
    }

    /// Has requests be told that the database is waited for, until [`App::ready`].
    pub fn waits_for_database(&self) {
        self.phase().set_waits_for_database();
    }

    /// Says whether the holder of the data directory can be asked for it.
    pub fn holder_is(&self, state: HolderState) {
        self.phase().set_holder(state);
    }

    /// Cancelled when a request needs the store that another process holds.
    #[must_use]
    pub fn wanted(&self) -> &CancellationToken {
        self.phase().wanted()
    }

    /// Keeps new requests waiting until [`App::moved`], and waits for those that have begun to have
    /// had their changes committed.
    pub async fn leave(&self) {
        self.phase().leave().await;
    }

    /// Has the next holder of the data directory answer everything from now on.
    pub fn moved(&self) {
        self.phase().set_moved();
    }

    /// Keeps all requests waiting until [`App::ready`], or until [`App::moved`]: the store comes
    /// back.
    pub fn returning(&self) {
        self.phase().begin_return();
    }

    pub(super) fn phase(&self) -> &Phase {
        &self.inner.phase
    }

    /// `/readyz` answers 503 from now on; everything else is served.
    pub fn not_ready(&self) {
        self.inner.ready.store(false, Relaxed);
    }

    /// The engine of the current tenure, or of the last one.
    pub(super) fn engine(&self) -> Option<arc_swap::Guard<Arc<Engine>>> {
        self.inner.engine.get().map(ArcSwap::load)
    }

    /// The engine, or the refusal while there is none or it is being handed over.
    pub(super) fn running(&self) -> Result<Running<'_>, Problem> {
        let engine = self.inner.engine.get();
        engine
            .and_then(|engine| Running::new(self.phase(), engine))
            .ok_or_else(Problem::starting)
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    pub(super) fn clocks(&self) -> Clocks<'_> {
        Clocks {
            store: self
                .engine()
                .map_or_else(|| self.clock().clone(), |engine| engine.clock().clone()),
            server: self.clock(),
        }
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
        &self.inner.settings.http.stream_base_path
    }

    /// The caching policy of reads.
    pub(super) fn caching(&self) -> &Caching {
        &self.inner.caching
    }

    pub(super) fn body_bytes(&self) -> &ByteLimit {
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
        let serves = match self.phase().has_moved() {
            true => self.phase().successor_answers(),
            false => self.engine().is_some_and(|engine| engine.takes_writes()),
        };
        serves && self.inner.ready.load(Relaxed) && !self.inner.stopping.is_cancelled() && !self.has_no_keys()
    }

    /// Whether every token is refused because no key is left.
    pub(super) fn has_no_keys(&self) -> bool {
        self.inner.gate.authenticator().is_some_and(|auth| auth.has_no_keys())
    }

    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.inner.stopping
    }

    /// The number of live reads.
    #[must_use]
    pub fn live_reads(&self) -> usize {
        let free = self.inner.live_readers.available_permits();
        self.inner.settings.max_live_readers().saturating_sub(free)
    }

    /// The number of streams.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.engine().map_or(0, |engine| engine.usage().streams)
    }

    /// When a live read of a stopping server has to end: each at a random moment, so that readers
    /// do not return together.
    pub(super) fn leave_at(&self, tenure: &Tenure) -> Instant {
        let spread = self.inner.settings.spread;
        tenure.departures.draw(spread, || self.live_reads(), self.random())
    }

    /// When a live read has to end after the store was handed over. It goes on until then, so the
    /// moments may always be as far apart as those of a stop at most.
    pub(super) fn return_at(&self) -> Instant {
        let spread = u64::try_from(self.inner.settings.spread.as_millis()).unwrap_or(u64::MAX);
        Instant::now() + Duration::from_millis(self.random().between(0, spread))
    }

    /// Resolves at the moment of [`App::leave_at`].
    pub(super) async fn turn_to_leave(&self, tenure: &Tenure) {
        self.stopping().cancelled().await;
        tokio::time::sleep_until(self.leave_at(tenure)).await;
    }
}
