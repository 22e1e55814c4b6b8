//! Whether this server holds the store, waits for it, or has handed it over.

use std::{
    ops::Deref,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{engine::Engine, signal::Signal};

const STARTING: u8 = 0;
const SERVING: u8 = 1;
/// No request may begin; those that have begun are being finished.
const LEAVING: u8 = 2;
const MOVED: u8 = 3;

/// How long a request waits for the store to change its holder.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long a request waits until it is known whether the holder can be asked.
const MAX_UNCERTAINTY: Duration = Duration::from_secs(1);

/// How long the requests that have begun may take to be committed.
const MAX_FINISH: Duration = Duration::from_secs(5);

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

pub(super) struct Phase {
    state: AtomicU8,
    /// Requests that use the engine and must have ended before it stops.
    in_use: AtomicUsize,
    unused: Notify,
    serving: CancellationToken,
    moved: CancellationToken,
    /// A request needs the store.
    wanted: CancellationToken,
    holder: watch::Sender<HolderState>,
    /// The directory that can be handed over.
    dir: OnceLock<PathBuf>,
    /// Ends or moves live reads: the server stops, or the store has moved.
    interrupted: Arc<Signal>,
}

impl Phase {
    /// Must be called within a tokio runtime.
    pub(super) fn new(stopping: &CancellationToken) -> Self {
        let interrupted: Arc<Signal> = Arc::default();
        let (stopping, interrupt) = (stopping.clone(), Arc::downgrade(&interrupted));
        tokio::spawn(async move {
            stopping.cancelled().await;
            if let Some(interrupted) = interrupt.upgrade() {
                interrupted.send();
            }
        });
        Self {
            state: AtomicU8::new(STARTING),
            in_use: AtomicUsize::new(0),
            unused: Notify::new(),
            serving: CancellationToken::new(),
            moved: CancellationToken::new(),
            wanted: CancellationToken::new(),
            holder: watch::Sender::new(HolderState::Unknown),
            dir: OnceLock::new(),
            interrupted,
        }
    }

    pub(super) fn is_serving(&self) -> bool {
        self.state.load(Ordering::Acquire) == SERVING
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.state.load(Ordering::Acquire) >= LEAVING
    }

    pub(super) fn serve(&self) {
        self.state.store(SERVING, Ordering::Release);
        self.serving.cancel();
    }

    pub(super) fn set_dir(&self, dir: PathBuf) {
        let _ = self.dir.set(dir);
    }

    /// The directory, if it can be handed over.
    pub(super) fn dir(&self) -> Option<&PathBuf> {
        self.dir.get()
    }

    pub(super) fn set_holder(&self, state: HolderState) {
        self.holder.send_replace(state);
    }

    pub(super) fn wanted(&self) -> &CancellationToken {
        &self.wanted
    }

    /// Cancelled when the store has been handed over.
    pub(super) fn moved(&self) -> &CancellationToken {
        &self.moved
    }

    pub(super) fn interrupted(&self) -> &Arc<Signal> {
        &self.interrupted
    }

    /// Where a request belongs, after waiting for a change that is under way.
    pub(super) async fn place(&self) -> Place {
        match self.state.load(Ordering::Acquire) {
            SERVING => Place::Here,
            STARTING => {
                self.wanted.cancel();
                self.wait_for_store().await
            }
            _ => match timeout(MAX_WAIT, self.moved.cancelled()).await {
                Ok(()) => Place::Successor,
                Err(_) => Place::Nowhere,
            },
        }
    }

    async fn wait_for_store(&self) -> Place {
        let mut holder = self.holder.subscribe();
        let known = async {
            let unknown = holder.wait_for(|state| *state != HolderState::Unknown);
            let _ = timeout(MAX_UNCERTAINTY, unknown).await;
            let _ = holder.wait_for(|state| *state != HolderState::Answers).await;
        };
        tokio::select! {
            biased;
            () = self.serving.cancelled() => Place::Here,
            () = known => Place::Nowhere,
            () = sleep(MAX_WAIT) => Place::Nowhere,
        }
    }

    /// Lets nothing new begin and waits for what has begun.
    pub(super) async fn leave(&self) {
        self.state.store(LEAVING, Ordering::SeqCst);
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
        self.state.store(MOVED, Ordering::SeqCst);
        self.moved.cancel();
        self.interrupted.send();
    }

    /// Marks the engine as used, unless it is being handed over.
    fn enter(&self) -> bool {
        self.in_use.fetch_add(1, Ordering::SeqCst);
        let enters = self.state.load(Ordering::SeqCst) < LEAVING;
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

/// The engine, which is not handed over meanwhile.
pub(super) struct Running<'a> {
    /// Counts this use.
    phase: Option<&'a Phase>,
    engine: &'a Engine,
}

impl<'a> Running<'a> {
    pub(super) fn new(phase: &'a Phase, engine: &'a Engine) -> Option<Self> {
        // Nobody waits for the uses of a store that is never handed over.
        let counted = phase.dir.get().is_some();
        (!counted || phase.enter()).then_some(Self {
            phase: counted.then_some(phase),
            engine,
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
        self.engine
    }
}
