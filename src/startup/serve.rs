//! Starts a server from a configuration, serves, and stops.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    Phase, StartupError, descriptors,
    handover::{Context, Holding},
    inherited_sockets::InheritedSockets,
    service_manager,
    storage::{self, Opened},
};
use crate::{
    auth::Authenticator,
    clock::Clock,
    config::{Config, Loaded},
    engine::Engine,
    gate::Gate,
    http::{self, App},
    listener::{
        Drained, Listener, Server, TlsContext, TlsContextError, TransportMode, build_acme_context, build_tls_context,
        check_tls_files,
    },
    proxy::ProxyTrust,
    random::Random,
    telemetry::Metrics,
    webhook::{Deliverer, SystemResolver},
};

/// Serves until a signal asks for a stop, then stops without losing acknowledged data or requests
/// in flight. Logging must have been started.
///
/// # Errors
/// The phase of the start that failed.
pub async fn serve(loaded: Loaded) -> Result<(), StartupError> {
    let Loaded {
        mut config, warnings, ..
    } = loaded;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    for exposed in super::exposures(&config) {
        tracing::warn!("{exposed}");
    }
    let mut signals = Signals::new()?;
    descriptors::apply_fd_limit(&mut config);
    let gate = load_keys(&config)?;
    let transport = PublicTransport::of(&config)?;
    let listeners = Listeners::bind(&config)?;
    let deliverer = deliverer(&config)?;
    let metrics = metrics()?;
    let server = Server::new(&config.limits, &config.transport.connection, Clock::system())
        .with_metrics(Arc::clone(&metrics))
        .with_trusted_proxies(config.proxy.trusted());
    let mut reload = Reload {
        authenticator: gate.authenticator().cloned(),
        server: server.clone(),
        is_ready: false,
    };
    let app = App::new(
        config.http_settings(),
        gate,
        Arc::clone(&metrics),
        Clock::system(),
        Random::system(),
        server.stopping(),
    );
    listeners.serve(&server, transport, &app, &config);

    service_manager::starting(Duration::from_secs(config.storage.lock_wait_secs));
    let opened = tokio::select! {
        opened = storage::open(&config, &app) => opened?,
        () = signals.stop(&reload) => {
            tracing::info!("stopping before the store is open");
            server.drain(Duration::from_secs(config.server.drain_timeout_secs)).await;
            return Ok(());
        }
    };
    let context = Context {
        config: &config,
        app: &app,
        metrics: &metrics,
        server: &server,
        deliverer: &deliverer,
    };
    let mut held = Held::start(context, opened)?;
    reload.is_ready = true;
    service_manager::ready();
    tracing::info!(storage = ?config.storage.mode, streams = app.streams(), "serving");

    held.serve(&mut signals, &reload).await;
    reload.is_ready = false;
    let drained = drain(&config, &server, &app, &mut held, signals.stop(&reload)).await;
    // Deliveries may take as long as requests may, unless the drain was skipped.
    let max_wait = drained.map_or(0, |_| config.server.drain_timeout_secs);
    held.close(Duration::from_secs(max_wait)).await;
    log_stop(drained);
    Ok(())
}

/// Lets load balancers notice the stop, and then requests and live reads end. Returns the number
/// of connections that were cut; `None` after a second signal.
async fn drain(
    config: &Config,
    server: &Server,
    app: &App,
    held: &mut Held<'_>,
    second_signal: impl Future<Output = ()>,
) -> Option<usize> {
    let delay = Duration::from_secs(config.shutdown.delay_secs);
    let timeout = Duration::from_secs(config.server.drain_timeout_secs);
    service_manager::stopping(delay.saturating_add(timeout));
    app.not_ready();
    tracing::info!(
        delay_secs = delay.as_secs(),
        timeout_secs = timeout.as_secs(),
        live_reads = app.live_reads(),
        "stopping: finishing requests, ending live reads"
    );
    let drained = async {
        tokio::time::sleep(delay).await;
        held.drain(server, timeout).await
    };
    tokio::select! {
        drained = drained => Some(drained.cut),
        () = second_signal => {
            // The drain may not have begun.
            server.drain(Duration::ZERO).await;
            None
        }
    }
}

/// The store that is served from.
enum Held<'a> {
    /// Without a directory: in memory, or in a database.
    Elsewhere(Context<'a>, Engine),
    Disk(Box<Holding<'a>>),
}

impl<'a> Held<'a> {
    fn start(context: Context<'a>, opened: Opened) -> Result<Self, StartupError> {
        match opened {
            Opened::Elsewhere(storage) => {
                let engine = context.start_engine(storage)?;
                context.serve(engine.clone());
                Ok(Self::Elsewhere(context, engine))
            }
            Opened::Disk(opened) => Ok(Self::Disk(Box::new(Holding::start(context, opened)?))),
        }
    }

    /// Serves until a signal asks for a stop. A data directory may change its holder meanwhile.
    async fn serve(&mut self, signals: &mut Signals, reload: &Reload) {
        let Self::Disk(holding) = self else {
            return signals.stop(reload).await;
        };
        loop {
            let change = tokio::select! {
                () = signals.stop(reload) => return holding.release_to_waiting().await,
                change = holding.change() => change,
            };
            holding.make(change).await;
        }
    }

    /// Finishes the requests of this server, and then those that its predecessors have forwarded.
    async fn drain(&mut self, server: &Server, max_wait: Duration) -> Drained {
        let drained = server.drain(max_wait).await;
        if let Self::Disk(holding) = self {
            holding.finish_forwarded(max_wait).await;
        }
        drained
    }

    /// `max_wait`: for deliveries in flight.
    async fn close(self, max_wait: Duration) {
        match self {
            Self::Elsewhere(context, engine) => {
                context.app.stop_subscriptions(max_wait).await;
                engine.stop().await;
            }
            Self::Disk(holding) => holding.close(max_wait).await,
        }
    }
}

/// `cut`: the connections that were closed before they ended; `None` after a second signal.
fn log_stop(cut: Option<usize>) {
    match cut {
        Some(0) => tracing::info!("stopped"),
        Some(cut) => tracing::warn!(
            connections = cut,
            "stopped; connections that did not end in time were cut"
        ),
        None => tracing::warn!("stopped immediately on a second signal"),
    }
}

fn load_keys(config: &Config) -> Result<Gate, StartupError> {
    let gate = Gate::load(config.auth.as_ref(), &config.http.stream_base_path, Clock::system())
        .map_err(|error| StartupError::new(Phase::LoadKeys, error.to_string()))?;
    if let Some(authenticator) = gate.authenticator() {
        drop(tokio::spawn(Arc::clone(authenticator).watch()));
    }
    Ok(gate)
}

fn deliverer(config: &Config) -> Result<Arc<Deliverer>, StartupError> {
    let failed = |error| StartupError::with_source(Phase::StartServer, "cannot prepare webhook deliveries", error);
    Deliverer::new(&config.webhooks, Arc::new(SystemResolver))
        .map(Arc::new)
        .map_err(failed)
}

fn metrics() -> Result<Arc<Metrics>, StartupError> {
    let failed = |error| StartupError::with_source(Phase::StartServer, "cannot register the metrics", error);
    Metrics::new().map(Arc::new).map_err(failed)
}

/// Plain HTTP or TLS on the public listener.
enum PublicTransport {
    Plain,
    Tls(TlsContext),
}

impl PublicTransport {
    fn of(config: &Config) -> Result<Self, StartupError> {
        let transport = &config.transport;
        if transport.mode == TransportMode::Http {
            return Ok(Self::Plain);
        }
        let built = if transport.acme.domain.is_some() {
            build_acme_context(transport, &config.storage.data_dir)
        } else {
            check_tls_files(transport).map_err(|problems| {
                let problems = problems.iter().map(ToString::to_string).collect();
                StartupError::several(Phase::CheckTlsFiles, problems)
            })?;
            build_tls_context(transport)
        };
        let context = built.map_err(|error| {
            // The ACME directory's CA is read while the context is built.
            let phase = match error {
                TlsContextError::File(_) => Phase::CheckTlsFiles,
                _ => Phase::BuildTlsContext,
            };
            StartupError::new(phase, error.to_string())
        })?;
        Ok(Self::Tls(context))
    }
}

fn bind_error(error: impl std::error::Error) -> StartupError {
    StartupError::new(Phase::BindListener, error.to_string())
}

/// Bound addresses, before anything slow.
struct Listeners {
    public: Listener,
    internal: Option<Listener>,
}

impl Listeners {
    fn bind(config: &Config) -> Result<Self, StartupError> {
        let write_timeout = config.transport.connection.write_timeout();
        let mut inherited = InheritedSockets::from_env().map_err(bind_error)?;
        let mut open = |name, address| {
            match inherited.take(name) {
                Some(socket) => Listener::inherit(socket, write_timeout),
                None => Listener::bind(address, write_timeout),
            }
            .map_err(bind_error)
        };
        let internal = config.internal.as_ref();
        let listeners = Self {
            public: open("public", config.server.bind_address)?,
            internal: internal
                .map(|internal| open("internal", internal.address()))
                .transpose()?,
        };
        inherited.finish().map_err(bind_error)?;
        Ok(listeners)
    }

    fn serve(self, server: &Server, transport: PublicTransport, app: &App, config: &Config) {
        let base = &config.http.stream_base_path;
        let trust = ProxyTrust::new(&config.proxy, config.transport.mode);
        let public = trust.wrap(http::service(app.clone()));
        tracing::info!(
            listener = "public",
            address = %self.public.address(),
            %base,
            tls = matches!(transport, PublicTransport::Tls(_)),
            "listening"
        );
        match transport {
            PublicTransport::Plain => server.serve_public(self.public, public),
            PublicTransport::Tls(context) => server.serve_tls(self.public, context, public),
        }
        if let (Some(listener), Some(internal)) = (self.internal, &config.internal) {
            tracing::info!(listener = "internal", address = %listener.address(), %base, "listening");
            let trust = ProxyTrust::new(&config.proxy, config.transport.mode);
            server.serve_internal(
                listener,
                internal.allowed_ips.clone(),
                trust.wrap(http::service(app.clone())),
            );
        }
    }
}

/// The keys and certificates that SIGHUP reloads.
struct Reload {
    authenticator: Option<Arc<Authenticator>>,
    server: Server,
    /// systemd has been told so; a reload at another time is none of its states.
    is_ready: bool,
}

impl Reload {
    fn run(&self) {
        tracing::info!("SIGHUP: reloading keys and certificates");
        if self.is_ready {
            service_manager::reloading();
        }
        if let Some(authenticator) = &self.authenticator {
            authenticator.reload();
        }
        self.server.reload_certificates();
        if self.is_ready {
            service_manager::ready();
        }
    }
}

/// The signals that the server handles. Unhandled, each of them would end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> Result<Self, StartupError> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| StartupError::with_source(Phase::StartServer, "cannot listen for signals", error))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            hangup: listen(SignalKind::hangup())?,
            user1: listen(SignalKind::user_defined1())?,
            user2: listen(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal to stop, and handles the others.
    async fn stop(&mut self, reload: &Reload) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.quit.recv() => return,
                _ = self.hangup.recv() => reload.run(),
                _ = self.user1.recv() => tracing::debug!("SIGUSR1: ignored"),
                _ = self.user2.recv() => tracing::debug!("SIGUSR2: ignored"),
            }
        }
    }
}
