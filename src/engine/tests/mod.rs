//! The engine over a store that fails, waits or lies when a test asks it to.
//!
//! Time stands still: stored moments follow a manual [`Clock`], and timers follow tokio's paused
//! time, which moves on by itself whenever everything else waits. So a test that awaits what the
//! sweeper does gets it at once.

mod caching;
mod catch_up;
mod failures;
mod following;
mod large;
mod lifetimes;
mod listing;
mod schedule;
pub(crate) mod shared_store;
mod sharing;
mod trimming;
mod writing;

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{append::Appended, *};
use crate::{
    clock::Clock,
    protocol::{ContentType, Lifetime, Millis, ProducerStamp, ReadFrom, RetentionPolicy},
    storage::{
        Change, CommitError, Group, Position, StorageError, Stored, StreamId, Verdicts, delegate_storage,
        memory::InMemoryStorage,
    },
};

/// The moment at which the engines of most tests stand.
pub(super) const NOW: Millis = 1_800_000_000_000;

/// How the next commit fails.
pub(crate) enum Fault {
    /// Nothing is written.
    Refused,
    /// The commit is reported to have failed, but has been written.
    Landed,
    Panic,
}

pub(crate) type Hook = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// A store that counts as one that blocks, with places to interfere.
pub(crate) struct FailingStore {
    pub inner: Box<dyn Storage>,
    pub fault: Mutex<Option<Fault>>,
    /// The next `get` of this name fails.
    pub unreadable: Mutex<Option<StreamName>>,
    pub after_get: Hook,
    pub before_read: Hook,
    pub commits: AtomicUsize,
    pub maintained: AtomicUsize,
    pub maintenance_panics: AtomicBool,
    committed: Notify,
    swept: Notify,
}

impl FailingStore {
    pub fn new(max_bytes: u64) -> Arc<Self> {
        Self::over(InMemoryStorage::new(max_bytes))
    }

    pub fn over(inner: impl Storage) -> Arc<Self> {
        Arc::new(Self {
            inner: Box::new(inner),
            fault: Mutex::default(),
            unreadable: Mutex::default(),
            after_get: Mutex::default(),
            before_read: Mutex::default(),
            commits: AtomicUsize::new(0),
            maintained: AtomicUsize::new(0),
            maintenance_panics: AtomicBool::new(false),
            committed: Notify::new(),
            swept: Notify::new(),
        })
    }

    /// Waits until a commit has made `condition` true.
    pub async fn until(&self, condition: impl Fn(&dyn Storage) -> bool) {
        loop {
            let committed = self.committed.notified();
            if condition(&*self.inner) {
                return;
            }
            committed.await;
        }
    }

    /// Waits for a whole turn of the sweeper.
    pub async fn sweep(&self) {
        // A turn begins by asking for due streams, and has ended when the next one begins. The first
        // may have read the clock before the test moved it.
        for _ in 0..3 {
            self.swept.notified().await;
        }
    }
}

fn broken() -> StorageError {
    StorageError::Corrupt("as the test wants it".into())
}

fn run(hook: &Hook) {
    let hook = hook.lock().take();
    if let Some(hook) = hook {
        hook();
    }
}

impl Storage for FailingStore {
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        if self.unreadable.lock().take_if(|wanted| wanted == name).is_some() {
            return Err(broken());
        }
        let found = self.inner.get(name);
        run(&self.after_get);
        found
    }

    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
        self.swept.notify_waiters();
        self.inner.due(now, limit)
    }

    delegate_storage!(inner: writers, list, reserve_ids, usage);

    fn maintain(&self) -> Result<bool, CommitError> {
        assert!(!self.maintenance_panics.load(SeqCst), "as the test wants it");
        let more = self.inner.maintain();
        self.maintained.fetch_add(1, SeqCst);
        more
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        run(&self.before_read);
        self.inner.read(id, range)
    }

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        self.commits.fetch_add(1, SeqCst);
        let fault = self.fault.lock().take();
        let result = match fault {
            None => self.inner.commit(groups),
            Some(Fault::Refused) => Err(broken().into()),
            Some(Fault::Landed) => {
                self.inner.commit(groups)?;
                Err(broken().into())
            }
            Some(Fault::Panic) => panic!("as the test wants it"),
        };
        self.committed.notify_waiters();
        result
    }
}

/// An engine whose clock stands at [`NOW`].
pub(super) fn start(storage: Arc<dyn Storage>) -> Engine {
    start_at(storage, &Clock::manual(NOW))
}

/// An engine that follows `clock`.
pub(super) fn start_at(storage: Arc<dyn Storage>, clock: &Clock) -> Engine {
    start_with(storage, unlimited(), clock)
}

pub(super) fn start_with(storage: Arc<dyn Storage>, config: EngineConfig, clock: &Clock) -> Engine {
    Engine::start(storage, config, Arc::new(Metrics::new().unwrap()), clock.clone()).unwrap()
}

/// No limit that the engine can do without.
pub(super) fn unlimited() -> EngineConfig {
    EngineConfig {
        limits: LimitsConfig {
            max_stream_bytes: 0,
            ..LimitsConfig::default()
        },
        cache_bytes: 1 << 20,
        ..EngineConfig::default()
    }
}

pub(super) fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

pub(super) fn plain() -> CreateRequest {
    CreateRequest {
        content_type: Some(ContentType::parse("text/plain").unwrap()),
        lifetime: None,
        retention: None,
        closed: false,
        body: Bytes::new(),
        fork: None,
        past: None,
    }
}

/// Waits until every command sent before has been committed and published.
pub(super) async fn settled(engine: &Engine) {
    let missing = name("there is no such stream");
    assert!(matches!(engine.delete(&missing).await, Err(DeleteError::NotFound)));
}

/// Lives for `secs` seconds after its last read or write.
pub(super) fn sliding(secs: u64) -> CreateRequest {
    CreateRequest {
        lifetime: Some(Lifetime::Ttl(secs)),
        ..plain()
    }
}

pub(super) fn fork_of(source: &StreamName) -> CreateRequest {
    CreateRequest {
        content_type: None,
        fork: Some(ForkRequest {
            source: source.clone(),
            offset: None,
            sub_offset: 0,
        }),
        ..plain()
    }
}

pub(super) async fn append(engine: &Engine, name: &StreamName, text: &str) -> Result<Appended, AppendError> {
    let request = AppendRequest {
        content_type: Some(ContentType::parse("text/plain").unwrap()),
        body: Bytes::copy_from_slice(text.as_bytes()),
        ..AppendRequest::default()
    };
    engine.append(name, request).await
}

pub(super) async fn content(engine: &Engine, name: &StreamName) -> Result<String, ReadError> {
    let mut read = engine.read(name, ReadFrom::Beginning).await?;
    assert!(read.up_to_date);
    let mut content = Vec::new();
    while let Some(chunk) = read.pieces.next().await? {
        content.extend_from_slice(&chunk.body());
    }
    Ok(String::from_utf8(content).unwrap())
}

/// With retention by size.
pub(super) fn keeping(max_bytes: u64) -> CreateRequest {
    CreateRequest {
        retention: Some(RetentionPolicy {
            max_age_secs: None,
            max_bytes: Some(max_bytes),
        }),
        ..plain()
    }
}

pub(super) fn expiring(at: Millis) -> CreateRequest {
    CreateRequest {
        lifetime: Some(Lifetime::ExpiresAt(at)),
        ..plain()
    }
}

/// Has commands gather in the queue until the result is dropped.
pub(super) async fn hold_committer(engine: &Engine) -> impl Sized + '_ {
    let committer = &engine.shared.committer;
    loop {
        let held = committer.hold();
        // The committer takes this one and waits with it, unless it was about to do maintenance.
        engine.send(Expire {
            name: name("no such stream"),
        });
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
            std::thread::yield_now();
            if committer.queued() == 0 {
                return held;
            }
        }
    }
}
