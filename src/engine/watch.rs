//! Tells a watcher which streams have changed, after the change is committed and published.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use super::{Engine, stream::Stream};
use crate::{protocol::StreamName, storage::Changed};

/// Told of changed streams by the committer and by the store's feed, which must not be made to wait.
pub trait Watcher: Send + Sync {
    /// Notes that a stream has new content or was removed. Returns whether anybody watches it.
    fn changed(&self, name: &StreamName) -> bool;

    /// Notes what other servers of the store have changed, watched or not.
    fn changed_elsewhere(&self, changes: &[Changed]);

    /// Notes that this server has changed streams without a word of [`Watcher::changed`].
    fn happened_late(&self);

    /// Notes that changes by other servers may have been missed.
    fn missed(&self);

    /// Notes that the store has another history, so that what was read of it may be wrong.
    fn restored(&self);
}

/// The watcher, and the version of what it watches. A stream that nobody watches remembers the
/// version at which that was found out, so its appends cost one comparison.
#[derive(Default)]
pub(super) struct Watch {
    /// 0: nothing is watched.
    version: AtomicU64,
    watcher: OnceLock<Arc<dyn Watcher>>,
}

impl Watch {
    /// Call it after the stream's state is published, or when the store may have another one. Returns
    /// whether anybody watches the stream.
    pub(super) fn published(&self, stream: &Stream) -> bool {
        let version = self.version.load(Ordering::Acquire);
        if version == 0 || stream.unwatched_as_of() == version {
            return false;
        }
        let is_watched = self.watcher.get().is_some_and(|watcher| watcher.changed(&stream.name));
        if !is_watched {
            stream.set_unwatched_as_of(version);
        }
        is_watched
    }

    pub(super) fn changed_elsewhere(&self, changes: &[Changed]) {
        if let Some(watcher) = self.watcher.get() {
            watcher.changed_elsewhere(changes);
        }
    }

    pub(super) fn happened_late(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.happened_late();
        }
    }

    pub(super) fn missed(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.missed();
        }
    }

    pub(super) fn restored(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.restored();
        }
    }
}

impl Engine {
    /// Has `watcher` told of changes, once [`Engine::watch_more`] is called. Only the first call
    /// counts.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) {
        let _ = self.shared.watch.watcher.set(watcher);
    }

    /// Has the watcher asked again about streams that it did not watch before. Call it after the
    /// watcher has begun to watch more.
    pub fn watch_more(&self) {
        self.shared.watch.version.fetch_add(1, Ordering::AcqRel);
    }
}
