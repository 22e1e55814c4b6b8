//! Holding a data directory, handing it to the next server, and taking it back when that one fails.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    StartupError,
    storage::{self, OnDisk},
};
use crate::{
    clock::Clock,
    config::Config,
    control::{self, Control, Successors, Takeover},
    engine::Engine,
    http::App,
    listener::Server,
    storage::{DirLock, Storage, StorageConfig, lock, locked::LockedStorage},
    telemetry::Metrics,
    webhook::Deliverer,
};

/// The longest pause between attempts to take the directory back, if it cannot be opened.
const MAX_RETRY_PAUSE: Duration = Duration::from_secs(10);

/// How long a stop waits for requests that predecessors have forwarded. They have seldom more than
/// live reads left, which end at once.
const MAX_FORWARDED_DRAIN: Duration = Duration::from_secs(5);

/// What a server opens its data directory with.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) config: &'a Config,
    pub(super) app: &'a App,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) server: &'a Server,
    pub(super) deliverer: &'a Arc<Deliverer>,
}

impl Context<'_> {
    pub(super) fn start_engine(&self, storage: Arc<dyn Storage>) -> Result<Engine, StartupError> {
        Engine::start(storage, self.config.engine(), Arc::clone(self.metrics), Clock::system())
            .map_err(|error| StartupError::with_source(super::Phase::StartServer, "cannot start the committer", error))
    }

    /// Answers requests with this engine, and starts its subscriptions.
    pub(super) fn serve(&self, engine: Engine) {
        let Config {
            subscriptions,
            webhooks,
            ..
        } = self.config;
        self.app
            .serve(engine, subscriptions, webhooks, Arc::clone(self.deliverer));
    }

    /// Serves from an open store.
    fn hold(&self, OnDisk { storage, takeover }: OnDisk) -> Result<Held, StartupError> {
        let engine = self.start_engine(Arc::clone(&storage) as Arc<dyn Storage>)?;
        let held = Held {
            engine: engine.clone(),
            control: open_control(
                &self.config.storage,
                Arc::clone(&storage) as Arc<dyn Storage>,
                self.server,
            ),
            storage,
            takeover,
        };
        self.serve(engine);
        Ok(held)
    }
}

/// A server's part in holding its data directory, beside the servers before and after it.
pub(super) struct Holding<'a> {
    context: Context<'a>,
    /// Absent while another server holds the directory.
    held: Option<Held>,
    /// The handover sockets of the times before, which may still have connections.
    past_takeovers: Vec<Takeover>,
    /// The pause before the next attempt to take the directory back.
    retry_pause: Duration,
}

struct Held {
    engine: Engine,
    storage: Arc<LockedStorage>,
    takeover: Option<Takeover>,
    control: Option<(Control, Successors)>,
}

/// A reason to hand the directory over, or to take it back.
pub(super) enum Change {
    /// Another server needs the directory.
    Asked,
    /// The directory has been free for long enough; here is its lock.
    Abandoned(DirLock),
}

impl<'a> Holding<'a> {
    /// Serves from an open store.
    pub(super) fn start(context: Context<'a>, opened: OnDisk) -> Result<Self, StartupError> {
        Ok(Self {
            held: Some(context.hold(opened)?),
            context,
            past_takeovers: Vec::new(),
            retry_pause: Duration::ZERO,
        })
    }

    /// Waits until the directory should change its holder.
    pub(super) async fn change(&mut self) -> Change {
        match &mut self.held {
            Some(held) => {
                held.asked().await;
                Change::Asked
            }
            None => {
                sleep(self.retry_pause).await;
                let dir = &self.context.config.storage.data_dir;
                Change::Abandoned(lock::retake(dir, &Clock::system()).await)
            }
        }
    }

    pub(super) async fn make(&mut self, change: Change) {
        match change {
            Change::Asked => self.release().await,
            Change::Abandoned(lock) => self.take_back(lock).await,
        }
    }

    /// Hands the directory over at a stop, if a server waits for it.
    pub(super) async fn release_to_waiting(&mut self) {
        if self.held.as_ref().is_some_and(Held::is_waited_for) {
            self.release().await;
        }
    }

    /// Commits what is queued, closes the store, unlocks its directory, and forwards from then on.
    async fn release(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        let (app, started) = (self.context.app, Instant::now());
        app.leave().await;
        if let Some((control, _)) = &mut held.control {
            control.close();
        }
        if let Some(takeover) = &mut held.takeover {
            takeover.remove();
        }
        // The next holder makes the deliveries again that are in flight.
        app.stop_subscriptions(Duration::ZERO).await;
        held.engine.stop().await;
        close_store(held.storage).await;
        if let Some((control, _)) = held.control {
            control.released();
            tokio::spawn(control.ended());
        }
        app.moved();
        self.past_takeovers.retain(Takeover::is_in_use);
        self.past_takeovers.extend(held.takeover);
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(took_ms, "handed the data directory over; forwarding what still comes");
    }

    /// Serves again after the server that took the directory has gone.
    async fn take_back(&mut self, lock: DirLock) {
        tracing::warn!("the server that took the data directory over is gone, and no other holds it: taking it back");
        let Context { config, app, .. } = self.context;
        app.returning();
        let opened = storage::open_locked(config, app, lock).await;
        match opened.and_then(|opened| self.context.hold(opened)) {
            Ok(held) => {
                tracing::info!(streams = held.engine.usage().streams, "serving again");
                self.held = Some(held);
                self.retry_pause = Duration::ZERO;
            }
            Err(error) => {
                self.retry_pause = (self.retry_pause * 2).clamp(Duration::from_secs(1), MAX_RETRY_PAUSE);
                tracing::error!(%error, retry_secs = self.retry_pause.as_secs(), "the data directory cannot be taken back");
                app.moved();
            }
        }
    }

    /// Finishes the requests that predecessors have forwarded.
    pub(super) async fn finish_forwarded(&mut self, max_wait: Duration) {
        let until = Instant::now() + max_wait.min(MAX_FORWARDED_DRAIN);
        let current = self.held.as_mut().and_then(|held| held.takeover.take());
        for takeover in self.past_takeovers.drain(..).chain(current) {
            takeover.ended(until.saturating_duration_since(Instant::now())).await;
        }
    }

    /// Closes the store at the end, even if a task still refers to it: a store that is dropped with
    /// the process is not checkpointed.
    pub(super) async fn close(self, max_wait: Duration) {
        let Some(held) = self.held else { return };
        self.context.app.stop_subscriptions(max_wait).await;
        held.engine.stop().await;
        if let Some((control, _)) = held.control {
            control.ended().await;
        }
        close_store(held.storage).await;
    }
}

impl Held {
    /// Waits until another server needs the directory.
    async fn asked(&mut self) {
        match &mut self.control {
            Some((_, successors)) => successors.ask().await,
            None => std::future::pending().await,
        }
    }

    fn is_waited_for(&self) -> bool {
        self.control
            .as_ref()
            .is_some_and(|(_, successors)| successors.are_waiting())
    }
}

/// Opens the control socket, by which a persistent store takes requests for a backup. The server
/// works without it.
fn open_control(section: &StorageConfig, storage: Arc<dyn Storage>, server: &Server) -> Option<(Control, Successors)> {
    match control::serve(&section.data_dir, storage, &server.stopping()) {
        Ok(control) => Some(control),
        Err(error) => {
            tracing::warn!(
                dir = %section.data_dir.display(),
                %error,
                "cannot open the control socket in the data directory: `storage backup` needs this server stopped"
            );
            None
        }
    }
}

async fn close_store(storage: Arc<LockedStorage>) {
    if tokio::task::spawn_blocking(move || storage.release()).await.is_err() {
        tracing::error!("the store could not be closed");
    }
}
