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

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

pub(super) use self::followed::Followed;
use self::{duties::Duties, followed::Registry, pending::Queue, waiting::Gatherer};
use super::{
    cache::{Refreshed, StreamCache},
    errors::Unavailable,
    stream::Stream,
};
use crate::{
    clock::Clock,
    protocol::StreamName,
    storage::{Duty, SharedStore, Storage, StorageError, StreamId},
};

/// How long a commit of unknown outcome may still happen.
const MAX_LATE_COMMIT: Duration = Duration::from_secs(30);

pub(super) struct Sharing {
    storage: Arc<dyn Storage>,
    cache: Arc<StreamCache>,
    clock: Clock,
    gatherer: Gatherer,
    /// Held while the cache is emptied.
    history: Mutex<()>,
    registry: Arc<Registry>,
    news: Queue,
    /// Followed streams with a commit of unknown outcome, and until when it may still happen.
    suspects: Mutex<HashMap<StreamId, Instant>>,
    duties: Duties,
}

impl Sharing {
    /// `None` if the store has one holder.
    pub(super) fn of(storage: &Arc<dyn Storage>, cache: &Arc<StreamCache>, clock: &Clock) -> Option<Arc<Self>> {
        storage.shared()?;
        Some(Arc::new(Self {
            storage: Arc::clone(storage),
            cache: Arc::clone(cache),
            clock: clock.clone(),
            gatherer: Gatherer::default(),
            history: Mutex::default(),
            registry: Arc::default(),
            news: Queue::default(),
            suspects: Mutex::default(),
            duties: Duties::new(clock.clone()),
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
        let mut found = self.refresh_now(std::slice::from_ref(name))?;
        Ok(found.pop().unwrap_or(Refreshed::Outdated))
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

    /// Reads what the store has of streams whose commit has an unknown outcome, now and for a while.
    /// Their live readers are told; nobody else is, because every other read refreshes them.
    pub(super) fn suspect(&self, streams: &[Arc<Stream>]) {
        let until = self.clock.instant() + MAX_LATE_COMMIT;
        let followed = streams.iter().filter(|stream| self.registry.has(stream.id));
        let followed: Vec<StreamId> = followed.map(|stream| stream.id).collect();
        self.suspects.lock().extend(followed.iter().map(|id| (*id, until)));
        self.news.refresh(followed.into_iter());
    }

    /// Looks again at the streams whose commit may still happen. Nobody else announces it here: to
    /// the other servers it is a change of this one.
    pub(super) fn look_at_suspects(&self) {
        let now = self.clock.instant();
        let mut suspects = self.suspects.lock();
        suspects.retain(|id, until| *until > now && self.registry.has(*id));
        if !suspects.is_empty() {
            self.news.refresh(suspects.keys().copied());
        }
    }

    /// Publishes what the store has of streams that are judged again. Those that it cannot read are
    /// judged on what is known, and move again.
    pub(super) fn reconcile(&self, streams: &[Arc<Stream>]) {
        let names: Vec<StreamName> = streams.iter().map(|stream| stream.name.clone()).collect();
        for page in names.chunks(crate::storage::MAX_REFRESHED) {
            if let Err(error) = self.refresh_now(page) {
                tracing::debug!(%error, "could not read streams that another server has changed");
                return;
            }
        }
    }
}
