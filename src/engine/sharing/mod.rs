//! The engine's part in sharing a store with other servers. An engine with a store of its own has
//! no [`Sharing`].
//!
//! The cache is a guess here: another server may have changed a stream. A read therefore refreshes
//! its stream first, and a write names what it was judged on. Only live reads rely on news of other
//! servers' changes.
//!
//! | file | part |
//! |---|---|
//! | `find.rs` | looking up streams |
//! | `refresh.rs`, `waiting.rs` | fresh reads, gathered into few calls of the store |
//! | `followed.rs` | the streams that live readers of this server follow |
//! | `news.rs`, `pending.rs` | other servers' changes, on their way to live readers |
//! | `history.rs` | what happens when the store has lost acknowledged changes |
//! | `duties.rs` | work that one server does for all |

mod duties;
mod find;
mod followed;
mod history;
mod news;
mod pending;
mod refresh;
mod waiting;

use std::{collections::HashSet, sync::Arc};

use parking_lot::Mutex;

pub(super) use self::followed::Followed;
use self::{duties::Duties, followed::Registry, pending::Queue, waiting::Gatherer};
use super::{
    cache::{Refreshed, StreamCache},
    errors::Unavailable,
    stream::Stream,
    watch::Watch,
};
use crate::{
    clock::Clock,
    protocol::StreamName,
    storage::{Duty, MAX_REFRESHED, SharedStore, Storage, StorageError, StreamId},
};

pub(super) struct Sharing {
    storage: Arc<dyn Storage>,
    cache: Arc<StreamCache>,
    clock: Clock,
    gatherer: Gatherer,
    /// Held while the cache is emptied.
    history: Mutex<()>,
    registry: Arc<Registry>,
    news: Queue,
    watch: Arc<Watch>,
    duties: Duties,
    /// Streams whose bytes before a reader are being noted.
    noting: Mutex<HashSet<StreamId>>,
}

impl Sharing {
    /// `None` if the store has one holder.
    pub(super) fn of(
        storage: &Arc<dyn Storage>,
        cache: &Arc<StreamCache>,
        watch: &Arc<Watch>,
        clock: &Clock,
    ) -> Option<Arc<Self>> {
        storage.shared()?;
        Some(Arc::new(Self {
            storage: Arc::clone(storage),
            cache: Arc::clone(cache),
            clock: clock.clone(),
            gatherer: Gatherer::default(),
            history: Mutex::default(),
            registry: Arc::default(),
            news: Queue::default(),
            watch: Arc::clone(watch),
            duties: Duties::new(clock.clone()),
            noting: Mutex::default(),
        }))
    }

    fn store(&self) -> Result<&dyn SharedStore, StorageError> {
        const NOT_SHARED: StorageError = StorageError::Unsupported("the store is no longer shared");
        self.storage.shared().ok_or(NOT_SHARED)
    }

    /// The stream of a name, as of some moment after the call. `None`: another server replaced it
    /// meanwhile, and the answer is outdated.
    pub(super) async fn refresh(self: &Arc<Self>, name: &StreamName) -> Result<Refreshed, Unavailable> {
        if self.storage.blocking() {
            return self.gather(name).await;
        }
        // Tests decide what happens between two calls of such a store.
        let mut found = self.refresh_now(std::slice::from_ref(name))?;
        Ok(found.pop().unwrap_or(Ok(Refreshed::Outdated))?)
    }

    /// Counts a reader of a stream, which gets other servers' changes to it until the guard is
    /// dropped. Refresh the stream afterwards: earlier changes are not announced.
    pub(super) fn follow(&self, stream: Arc<Stream>) -> Followed {
        self.registry.follow(stream)
    }

    /// The streams that live readers of this server follow.
    pub(super) fn followed(&self) -> Vec<Arc<Stream>> {
        self.registry.all()
    }

    /// Whether this server has a duty. Blocks as the store does.
    pub(super) fn has_duty(&self, duty: Duty) -> Result<bool, StorageError> {
        self.duties.has(self.store()?, duty)
    }

    /// Publishes what the store has of streams that are judged again, because other servers have
    /// changed them. Those that it cannot read are judged on what is known, and move again.
    pub(super) fn reconcile(&self, streams: &[Arc<Stream>]) {
        self.refresh_all(streams);
        // The server that has changed them may have ended before it told its own watcher.
        for stream in streams {
            self.watch.published(stream);
        }
    }

    /// Has live readers and subscriptions look at streams whose commit has an unknown outcome. If it
    /// happens later, the store's feed tells of it. Every other read refreshes them anyway.
    pub(super) fn suspect(&self, streams: &[Arc<Stream>]) {
        for stream in streams {
            self.watch.published(stream);
        }
        let ids = streams.iter().map(|stream| stream.id);
        self.news.refresh(ids.filter(|id| self.registry.has(*id)));
    }

    /// Reads streams into the cache. Returns the names that have none.
    pub(super) fn look_up(&self, names: &[StreamName]) -> Result<HashSet<StreamName>, StorageError> {
        let mut absent = HashSet::new();
        for page in names.chunks(MAX_REFRESHED) {
            let found = page.iter().zip(self.refresh_now(page)?);
            absent.extend(
                found
                    .filter(|(_, found)| matches!(found, Ok(Refreshed::Absent)))
                    .map(|(name, _)| name.clone()),
            );
        }
        Ok(absent)
    }

    fn refresh_all(&self, streams: &[Arc<Stream>]) {
        let names: Vec<StreamName> = streams.iter().map(|stream| stream.name.clone()).collect();
        for page in names.chunks(MAX_REFRESHED) {
            if let Err(error) = self.refresh_now(page) {
                tracing::debug!(%error, "could not read streams that another server has changed");
                return;
            }
        }
    }
}
