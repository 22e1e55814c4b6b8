//! Streams that have changed and concern a subscription, until the dispatcher looks at them.

use std::collections::HashSet;

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::index::{Id, Index};
use crate::{engine::Watcher, protocol::StreamName};

/// Beyond this many changed streams, the dispatcher looks at all streams instead.
const MAX_MARKS: usize = 100_000;

/// Filled by the committer, emptied by the dispatcher.
#[derive(Default)]
pub(super) struct Marks {
    index: RwLock<Index>,
    changed: Mutex<Changed>,
    /// There is something for the dispatcher to do.
    pub(super) work: Notify,
}

#[derive(Default)]
pub(super) struct Changed {
    pub(super) names: HashSet<StreamName>,
    /// There were too many names to keep.
    pub(super) overflowed: bool,
}

impl Marks {
    pub(super) fn with_index<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        change(&mut self.index.write())
    }

    pub(super) fn concerned(&self, name: &StreamName) -> Vec<Id> {
        self.index.read().concerned(name)
    }

    pub(super) fn take(&self) -> Changed {
        std::mem::take(&mut *self.changed.lock())
    }
}

impl Watcher for Marks {
    fn changed(&self, name: &StreamName) -> bool {
        if name.is_internal() || !self.index.read().concerns_any(name) {
            return false;
        }
        let mut changed = self.changed.lock();
        if changed.names.len() >= MAX_MARKS {
            changed.overflowed = true;
        } else if !changed.names.contains(name) {
            changed.names.insert(name.clone());
        }
        drop(changed);
        self.work.notify_one();
        true
    }
}
