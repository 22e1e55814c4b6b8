//! What is known of followed streams and not yet published.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    engine::stream::Stream,
    protocol::StreamName,
    storage::{Changed, Position, StreamId},
};

/// What is known of followed streams and not yet published.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) pending: Mutex<Pending>,
    pub(super) added: Arc<Notify>,
}

#[derive(Default)]
pub(super) struct Pending {
    /// At most one entry for each followed stream.
    pub(super) changed: HashMap<StreamId, Target>,
    /// Every followed stream must be read.
    pub(super) all: bool,
    /// The history of the store may have changed.
    pub(super) restored: bool,
    pub(super) former: Vec<Former>,
}

/// What a stream has become, according to the news.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Target {
    pub(super) rev: u64,
    pub(super) tail: Position,
    /// The news say too little. That includes the end of a stream, which the store's history may have lost.
    pub(super) must_read: bool,
}

/// A stream as it was known in the last history.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) name: StreamName,
    pub(super) id: StreamId,
    pub(super) tail: Position,
}

impl Former {
    pub(super) fn of(stream: &Arc<Stream>) -> Self {
        Self {
            name: stream.name.clone(),
            id: stream.id,
            tail: stream.snapshot().tail,
        }
    }
}

impl Queue {
    pub(super) fn refresh(&self, ids: impl Iterator<Item = StreamId>) {
        let mut pending = self.pending.lock();
        ids.for_each(|id| pending.changed.entry(id).or_default().must_read = true);
        drop(pending);
        self.added.notify_one();
    }

    pub(super) fn compare(&self, former: Vec<Former>) {
        let mut pending = self.pending.lock();
        // These are of the last history.
        pending.changed.clear();
        pending.former.extend(former);
        drop(pending);
        self.added.notify_one();
    }

    pub(super) fn note(&self, note: impl FnOnce(&mut Pending)) {
        note(&mut self.pending.lock());
        self.added.notify_one();
    }
}

impl Pending {
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && !self.all && !self.restored && self.former.is_empty()
    }
}

impl Target {
    pub(super) fn merge(&mut self, change: &Changed) {
        self.rev = self.rev.max(change.rev);
        self.tail = self.tail.max(change.tail);
        self.must_read |= change.gone;
    }
}
