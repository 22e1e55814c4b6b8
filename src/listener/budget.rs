use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ListenerKind;

/// Kept free for the internal listener, so that a crowd on the public one cannot lock the app
/// servers out: a sixteenth of all, at most this many.
const MAX_RESERVE: usize = 256;

/// How many peers may be told at one moment that they are not on the allow-list. They count
/// on their own: refused peers must not use up what the allowed ones need.
const MAX_REFUSALS: usize = 64;

/// The connections that may be open at one moment, both listeners together.
#[derive(Debug)]
pub(super) struct Budget {
    shared: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new(max_connections: usize) -> Self {
        let total = max_connections.clamp(1, Semaphore::MAX_PERMITS);
        let reserve = (total / 16).min(MAX_RESERVE);
        Self {
            shared: Arc::new(Semaphore::new(total - reserve)),
            reserve: Arc::new(Semaphore::new(reserve)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
        }
    }

    /// A place for one connection, or `None` when all are taken.
    pub(super) fn take(&self, kind: ListenerKind) -> Option<OwnedSemaphorePermit> {
        let place = |pool: &Arc<Semaphore>| Arc::clone(pool).try_acquire_owned().ok();
        match kind {
            ListenerKind::Public => place(&self.shared),
            ListenerKind::Internal => place(&self.reserve).or_else(|| place(&self.shared)),
        }
    }

    /// A place for one answer to a peer that is not allowed.
    pub(super) fn take_refusal(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.refusals).try_acquire_owned().ok()
    }
}
