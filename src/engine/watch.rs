//! Tells a watcher which streams have changed, after the change is committed and published.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use super::{Engine, stream::Stream};
use crate::protocol::StreamName;

/// Told of changed streams by the committer, which must not be made to wait.
pub trait Watcher: Send + Sync {
    /// Notes that a stream has new content or was removed. Returns whether anybody watches it.
    fn changed(&self, name: &StreamName) -> bool;
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
