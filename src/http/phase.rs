//! Whether this server holds the store, waits for it, or has handed it over.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::departures::Departures;
use crate::{engine::Engine, handover, signal::Signal, unix_socket};

const STARTING: u8 = 0;
const SERVING: u8 = 1;
/// No request may begin; those that have begun are being finished.
const LEAVING: u8 = 2;
/// Another server holds the store.
const MOVED: u8 = 3;
/// This server opens the store again.
const RETURNING: u8 = 4;

/// How long a request waits for the store to change its holder.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long a request waits until it is known whether the holder can be asked.
const MAX_UNCERTAINTY: Duration = Duration::from_secs(2);

/// How long the requests that have begun may take to be committed.
const MAX_FINISH: Duration = Duration::from_secs(5);

/// Probes of readiness over this time are those of a prober that routes nothing here before this
/// server is ready. A single look is none.
const PROBED_FOR: Duration = Duration::from_secs(1);

/// The holder of the data directory, as a starting server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HolderState {
    /// Nothing yet.
    Unknown,
    /// It hands the directory over when asked, or has done so.
    Answers,
    /// It cannot be asked.
    Silent,
}

/// Where a request belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Here,
    Successor,
    /// There is no store for it yet.
    Nowhere,
}

/// A time during which this server holds the store.
pub(super) struct Tenure {
    /// Cancelled when the store has been handed over.
    pub(super) moved: CancellationToken,
    /// Ends or moves live reads: the server stops, or the store has moved.
    pub(super) interrupted: Arc<Signal>,
    pub(super) departures: Departures,
}

impl Default for Tenure {
    fn default() -> Self {
        Self {
            moved: CancellationToken::new(),
            interrupted: Arc::default(),
            departures: Departures::default(),
        }
    }
}

pub(super) struct Phase {
    state: AtomicU8,
    /// The same, for those who wait for a change.
    changes: watch::Sender<u8>,
    /// Requests that use the engine and must have ended before it stops.
    in_use: AtomicUsize,
    unused: Notify,
    /// A request needs the store.
    wanted: CancellationToken,
    first_probe: OnceLock<Instant>,
    holder: watch::Sender<HolderState>,
    /// The directory that can be handed over.
    dir: OnceLock<PathBuf>,
    /// The start waits for a database, and not for a directory.
    waits_for_database: AtomicBool,
    /// The current tenure, or the last one.
    tenure: Arc<ArcSwap<Tenure>>,
    stopping: CancellationToken,
}

impl Phase {
    /// Must be called within a tokio runtime.
    pub(super) fn new(stopping: &CancellationToken) -> Self {
        let tenure: Arc<ArcSwap<Tenure>> = Arc::default();
        tokio::spawn(interrupt(stopping.clone(), Arc::downgrade(&tenure)));
        Self {
            state: AtomicU8::new(STARTING),
            changes: watch::Sender::new(STARTING),
            in_use: AtomicUsize::new(0),
            unused: Notify::new(),
            wanted: CancellationToken::new(),
            first_probe: OnceLock::new(),
            holder: watch::Sender::new(HolderState::Unknown),
            dir: OnceLock::new(),
            waits_for_database: AtomicBool::new(false),
            tenure,
            stopping: stopping.clone(),
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.state.load(Ordering::Acquire) == SERVING
    }

    /// Whether there is or was a store.
    pub(super) fn has_served(&self) -> bool {
        self.state.load(Ordering::Acquire) != STARTING
    }

    pub(super) fn has_moved(&self) -> bool {
        self.state.load(Ordering::Acquire) == MOVED
    }

    /// Whether the holder after this one takes requests.
    pub(super) fn successor_answers(&self) -> bool {
        let connect = |dir: &PathBuf| unix_socket::connect_nonblocking(dir, handover::SOCKET);
        self.dir().is_some_and(|dir| connect(dir).is_ok())
    }

    fn change(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
        self.changes.send_replace(state);
    }

    pub(super) fn serve(&self) {
        self.change(SERVING);
    }

    pub(super) fn set_dir(&self, dir: PathBuf) {
        let _ = self.dir.set(dir);
    }

    /// The directory, if it can be handed over.
    pub(super) fn dir(&self) -> Option<&PathBuf> {
        self.dir.get()
    }

    pub(super) fn set_waits_for_database(&self) {
        self.waits_for_database.store(true, Ordering::Release);
    }

    pub(super) fn waits_for_database(&self) -> bool {
        self.waits_for_database.load(Ordering::Acquire)
    }

    pub(super) fn set_holder(&self, state: HolderState) {
        self.holder.send_replace(state);
    }

    pub(super) fn wanted(&self) -> &CancellationToken {
        &self.wanted
    }

    /// A prober has asked whether this server is ready, which it is not.
    pub(super) fn note_probe(&self) {
        let first = *self.first_probe.get_or_init(Instant::now);
        if first.elapsed() >= PROBED_FOR {
            self.wanted.cancel();
        }
    }

    /// Read it before the engine is used: then the tenure is the engine's, or over.
    pub(super) fn tenure(&self) -> Arc<Tenure> {
        self.tenure.load_full()
    }

    /// Where a request belongs, after waiting for a change that is under way.
    pub(super) async fn place(&self) -> Place {
        match self.state.load(Ordering::Acquire) {
            SERVING => Place::Here,
            MOVED => Place::Successor,
            STARTING => {
                self.wanted.cancel();
                self.wait_for_store().await
            }
            _ => self.wait_for_change().await,
        }
    }

    async fn wait_for_change(&self) -> Place {
        let mut changes = self.changes.subscribe();
        let changed = changes.wait_for(|state| matches!(*state, SERVING | MOVED));
        match timeout(MAX_WAIT, changed).await {
            Ok(Ok(state)) if *state == SERVING => Place::Here,
            Ok(Ok(_)) => Place::Successor,
            Ok(Err(_)) | Err(_) => Place::Nowhere,
        }
    }

    async fn wait_for_store(&self) -> Place {
        let (mut changes, mut holder) = (self.changes.subscribe(), self.holder.subscribe());
        let known = async {
            let unknown = holder.wait_for(|state| *state != HolderState::Unknown);
            let _ = timeout(MAX_UNCERTAINTY, unknown).await;
            let _ = holder.wait_for(|state| *state != HolderState::Answers).await;
        };
        tokio::select! {
            biased;
            _ = changes.wait_for(|state| *state == SERVING) => Place::Here,
            () = known => Place::Nowhere,
            () = sleep(MAX_WAIT) => Place::Nowhere,
        }
    }

    /// Lets nothing new begin and waits for what has begun.
    pub(super) async fn leave(&self) {
        self.change(LEAVING);
        let finished = async {
            loop {
                let unused = self.unused.notified();
                if self.in_use.load(Ordering::SeqCst) == 0 {
                    return;
                }
                unused.await;
            }
        };
        if timeout(MAX_FINISH, finished).await.is_err() {
            tracing::warn!("handing over although some requests have not ended");
        }
    }

    /// The next holder can be asked.
    pub(super) fn set_moved(&self) {
        self.change(MOVED);
        let tenure = self.tenure.load();
        tenure.moved.cancel();
        tenure.interrupted.send();
    }

    /// Requests wait until this server serves again, or until [`Phase::set_moved`].
    pub(super) fn begin_return(&self) {
        let tenure = Arc::new(Tenure::default());
        self.tenure.store(Arc::clone(&tenure));
        // The stop may have interrupted the last tenure just before.
        if self.stopping.is_cancelled() {
            tenure.interrupted.send();
        }
        self.change(RETURNING);
    }

    /// Marks the engine as used, unless it is being handed over.
    fn enter(&self) -> bool {
        self.in_use.fetch_add(1, Ordering::SeqCst);
        let enters = self.state.load(Ordering::SeqCst) == SERVING;
        if !enters {
            self.exit();
        }
        enters
    }

    fn exit(&self) {
        let last = self.in_use.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.state.load(Ordering::SeqCst) == LEAVING {
            self.unused.notify_one();
        }
    }
}

/// Interrupts the tenure at which the server stops.
async fn interrupt(stopping: CancellationToken, tenure: Weak<ArcSwap<Tenure>>) {
    stopping.cancelled().await;
    if let Some(tenure) = tenure.upgrade() {
        tenure.load().interrupted.send();
    }
}

/// The engine, which is not handed over meanwhile.
pub(super) struct Running<'a> {
    /// Counts this use.
    phase: Option<&'a Phase>,
    engine: Guard<Arc<Engine>>,
}

impl<'a> Running<'a> {
    pub(super) fn new(phase: &'a Phase, engine: &ArcSwap<Engine>) -> Option<Self> {
        // Nobody waits for the uses of a store that is never handed over.
        let phase_counting = phase.dir.get().map(|_| phase);
        if phase_counting.is_some_and(|phase| !phase.enter()) {
            return None;
        }
        Some(Self {
            phase: phase_counting,
            // After entering, so that it is the engine of this tenure.
            engine: engine.load(),
        })
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(phase) = self.phase {
            phase.exit();
        }
    }
}

impl Deref for Running<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}
