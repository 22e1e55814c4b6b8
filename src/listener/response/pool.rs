//! A byte count with a limit.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Room for frames, in bytes. Frames that are already in memory may overdraw it.
#[derive(Debug)]
pub(super) struct Pool {
    limit: usize,
    used: AtomicUsize,
    pub(super) room: Notify,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            used: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }

    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    pub(super) fn has_room(&self) -> bool {
        self.used() < self.limit
    }

    /// Whether twice the limit is used.
    pub(super) fn is_far_overdrawn(&self) -> bool {
        self.used() >= self.limit.saturating_mul(2)
    }

    pub(super) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn release(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        if before >= self.limit && before - bytes < self.limit {
            self.room.notify_one();
        }
    }

    /// Wakes the next waiter if the last one has left room.
    pub(super) fn wake_next(&self) {
        if self.has_room() {
            self.room.notify_one();
        }
    }
}
