//! A subscription in memory: its state as of a tail of its log.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::{Mutex, RwLock};

use super::{index::Id, pending::Pending, state::State, token::Secret};
use crate::{
    engine::Unavailable,
    protocol::{Millis, NameError, Offset, StreamName},
    storage::StreamId,
};

/// How often a decision is made again because another server was faster.
pub(super) const MAX_MOVES: u32 = 8;
/// The folder of the logs.
const FOLDER: &str = "subscriptions/";

/// One subscription, stored or about to be created.
pub(super) struct Subscription {
    pub(super) id: Id,
    pub(super) log: StreamName,
    pub(super) live: Arc<tokio::sync::Mutex<Live>>,
    pub(super) pending: Mutex<Pending>,
    /// Verifies tokens without the lock of the state. It may be outdated if servers share the store.
    pub(super) secret: RwLock<Option<Secret>>,
    /// When a matching stream was last not linked because of a limit; 0: never.
    link_refused_at: AtomicU64,
    /// The dispatcher will look at it.
    pub(super) is_scheduled: AtomicBool,
    pub(super) timer: Mutex<Option<Millis>>,
}

/// What is known of the log.
#[derive(Default)]
pub(super) struct Live {
    pub(super) state: Option<State>,
    pub(super) tail: Option<Offset>,
    /// The log must be read before the state is used.
    pub(super) is_stale: bool,
    /// All of the log must be read, because the store may have another one.
    pub(super) is_unfounded: bool,
    /// This server made the last change, so it sees to what becomes due.
    pub(super) is_own: bool,
    /// The log's id, by which news of other servers name it.
    pub(super) log_id: Option<StreamId>,
    pub(super) log_bytes: usize,
    pub(super) state_bytes: usize,
    /// Links that the limit of all subscriptions counts.
    pub(super) counted_links: usize,
    /// It was not created, and another one may have its place.
    pub(super) is_forgotten: bool,
    /// The generation that this server is delivering.
    pub(super) delivering: Option<u64>,
    /// The generation whose delivery, or whose event, may not have been sent by the last holder of the
    /// store.
    pub(super) cut_off: Option<u64>,
}

impl Live {
    /// Whether the state is that of a log with this tail.
    pub(super) fn is_at(&self, tail: Offset) -> bool {
        !self.is_stale && self.tail == Some(tail)
    }

    /// Has the whole log read before the state is used again.
    pub(super) fn distrust(&mut self) {
        (self.is_stale, self.is_unfounded) = (true, true);
    }

    pub(super) fn state(&self) -> Option<&State> {
        self.state.as_ref().filter(|_| !self.is_stale)
    }
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangeError {
    /// Another server was faster: decide again.
    #[error("the subscription was changed by another server")]
    Moved,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// `None`: another server was faster, so decide again.
pub(super) fn unless_moved<T>(changed: Result<T, ChangeError>) -> Result<Option<T>, Unavailable> {
    match changed {
        Ok(changed) => Ok(Some(changed)),
        Err(ChangeError::Moved) => Ok(None),
        Err(ChangeError::Unavailable(unavailable)) => Err(unavailable),
    }
}

/// Whether the messages for another stream were appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noticed {
    /// Also if there were none.
    Appended,
    Refused,
}

/// Messages for another stream, committed together with a change.
pub(super) type Notice = (StreamName, bytes::Bytes);

impl Subscription {
    /// # Errors
    /// The id cannot be a part of a name.
    pub(super) fn new(id: &str) -> Result<Self, NameError> {
        Ok(Self {
            id: id.into(),
            log: Self::log_of(id)?,
            live: Arc::new(tokio::sync::Mutex::new(Live {
                is_stale: true,
                ..Live::default()
            })),
            pending: Mutex::default(),
            secret: RwLock::default(),
            link_refused_at: AtomicU64::new(0),
            is_scheduled: AtomicBool::new(false),
            timer: Mutex::default(),
        })
    }

    /// The log of an id.
    pub(super) fn log_of(id: &str) -> Result<StreamName, NameError> {
        StreamName::internal(&format!("{FOLDER}{id}"))
    }

    /// Where the logs of all subscriptions are.
    pub(super) fn folder() -> Result<StreamName, NameError> {
        StreamName::internal(FOLDER)
    }

    /// The id of the subscription that has this log.
    pub(super) fn id_of(log: &StreamName, folder: &StreamName) -> Option<String> {
        log.key().strip_prefix(folder.key()).map(str::to_owned)
    }

    /// Marks a stream. Returns whether there was room for it.
    pub(super) fn mark(&self, name: &StreamName, now: Millis) -> bool {
        self.pending.lock().mark(name, now)
    }

    /// Whether no stream had to be left out since the last examination.
    pub(super) fn has_all_marks(&self) -> bool {
        self.pending.lock().is_complete()
    }

    pub(super) fn has_pending(&self) -> bool {
        self.pending.lock().len() > 0
    }

    pub(super) fn note_refused_link(&self, now: Millis) {
        self.link_refused_at.store(now, Ordering::Relaxed);
    }

    pub(super) fn link_refused_at(&self) -> Option<Millis> {
        match self.link_refused_at.load(Ordering::Relaxed) {
            0 => None,
            at => Some(at),
        }
    }
}

/// Subscriptions by id.
pub(super) type Known = std::collections::BTreeMap<Id, Arc<Subscription>>;
