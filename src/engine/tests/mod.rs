//! The engine over a store that fails, waits or lies when a test asks it to.

mod caching;
mod catch_up;
mod failures;
mod following;
mod large;
mod listing;
mod schedule;
mod shared_store;
mod sharing;
mod trimming;
mod writing;

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;

use super::{append::Appended, *};
use crate::{
    clock::Clock,
    protocol::{ContentType, Lifetime, Millis, ProducerStamp, ReadFrom},
    storage::{
        Change, CommitError, Group, Position, StorageError, Stored, StreamId, Verdicts, WriterState,
        contract::CommitChanges, memory::InMemoryStorage,
    },
};

/// What the next commit comes to.
pub(super) enum Fault {
    /// Nothing is written.
    Refused,
    /// It is said to have failed, and is there all the same.
    Landed,
    Panic,
}

type Hook = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// A store, in memory unless said otherwise, that counts as one that blocks, with places to interfere.
pub(super) struct Faulty {
    pub(super) inner: Box<dyn Storage>,
    pub(super) fault: Mutex<Option<Fault>>,
    /// The next look at this name fails.
    pub(super) unreadable: Mutex<Option<StreamName>>,
    pub(super) after_get: Hook,
    pub(super) before_read: Hook,
    pub(super) commits: AtomicUsize,
}

impl Faulty {
    pub(super) fn new(max_bytes: u64) -> Arc<Self> {
        Self::over(InMemoryStorage::new(max_bytes))
    }

    pub(super) fn over(inner: impl Storage) -> Arc<Self> {
        Arc::new(Self {
            inner: Box::new(inner),
            fault: Mutex::default(),
            unreadable: Mutex::default(),
            after_get: Mutex::default(),
            before_read: Mutex::default(),
            commits: AtomicUsize::new(0),
        })
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

impl Storage for Faulty {
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        if self.unreadable.lock().take_if(|wanted| wanted == name).is_some() {
            return Err(broken());
        }
        let found = self.inner.get(name);
        run(&self.after_get);
        found
    }

    fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
        self.inner.writers(id)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(StreamName, Stored)>, StorageError> {
        self.inner.list(prefix, after, limit)
    }

    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
        self.inner.due(now, limit)
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        run(&self.before_read);
        self.inner.read(id, range)
    }

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        self.commits.fetch_add(1, SeqCst);
        let fault = self.fault.lock().take();
        match fault {
            None => self.inner.commit(groups),
            Some(Fault::Refused) => Err(broken().into()),
            Some(Fault::Landed) => {
                self.inner.commit(groups)?;
                Err(broken().into())
            }
            Some(Fault::Panic) => panic!("as the test wants it"),
        }
    }

    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
        self.inner.reserve_ids(count, lowest)
    }

    fn maintain(&self) -> Result<bool, CommitError> {
        self.inner.maintain()
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }
}

pub(super) fn start(storage: Arc<dyn Storage>) -> Engine {
    let limits = Limits {
        cache_bytes: 1 << 20,
        ..Limits::default()
    };
    Engine::start(storage, limits, Arc::new(Metrics::new().unwrap()), Clock::system()).unwrap()
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
        close: false,
        producer: None,
        stream_seq: None,
        writer: None,
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

pub(super) fn expiring(at: Millis) -> CreateRequest {
    CreateRequest {
        lifetime: Some(Lifetime::ExpiresAt(at)),
        ..plain()
    }
}
