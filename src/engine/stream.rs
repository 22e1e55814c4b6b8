//! A stream in memory: its published state, and a signal for those who wait for more.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{chunk::Chunk, expiry::deadline, joined, read_error::ReadError, recent::RecentChunks};
use crate::{
    protocol::{ContentType, Lifetime, Millis, Offset, ReadFrom, StreamName},
    storage::{Position, Stored, StreamId, StreamRecord},
};

/// A stream in use. Idle ones are not in memory.
///
/// Only the committer publishes, once the change is as durable as the backend promises; everyone
/// else reads.
#[derive(Debug)]
pub(super) struct Stream {
    pub name: StreamName,
    pub id: StreamId,
    pub content_type: ContentType,
    lifetime: Lifetime,
    created_at: Millis,
    /// The last read or write, for sliding lifetimes.
    touched_at: AtomicU64,
    /// The last use of any kind, for eviction from the cache.
    used_at: AtomicU64,
    readers: AtomicUsize,
    /// `touched_at` is being written to the store.
    flush_in_progress: AtomicBool,
    /// The bytes that the store has lost, if any.
    damage: OnceLock<String>,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug)]
struct State {
    tail: Position,
    gone: Option<Gone>,
    record: Arc<StreamRecord>,
    rev: u64,
    recent: RecentChunks,
}

/// Why a stream is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// Deleted or expired.
    Deleted,
    /// Deleted, and kept for its forks.
    SoftDeleted,
}

/// Identifies a stream and its bytes forever, even if the store loses them and starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    id: StreamId,
    created_at: Millis,
}

impl Identity {
    /// Two numbers that no other stream has both of.
    #[must_use]
    pub fn numbers(&self) -> [u64; 2] {
        [self.created_at, self.id]
    }
}

/// The published state of a stream at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub record: Arc<StreamRecord>,
    /// The position after the last byte.
    pub tail: Position,
    /// Why it is gone, if it is.
    pub gone: Option<Gone>,
}

impl Snapshot {
    /// The earliest position that can be read.
    pub fn earliest(&self) -> Position {
        self.record.earliest()
    }

    pub fn is_closed(&self) -> bool {
        self.record.closed
    }

    /// A position as an offset.
    pub fn offset(&self, position: Position) -> Offset {
        self.record.offset(position)
    }

    /// The position at which a read begins. An offset of this life past the tail means the tail:
    /// its reader waits for what comes.
    pub fn resolve(&self, from: ReadFrom) -> Result<Position, ReadError> {
        let offset = match from {
            ReadFrom::Beginning => return Ok(self.earliest()),
            ReadFrom::Now => return Ok(self.tail),
            ReadFrom::At(offset) => offset,
        };
        if !self.record.gave_out(offset) {
            return Err(ReadError::OtherLife {
                tail: self.offset(self.tail),
            });
        }
        if offset.position < self.earliest() {
            return Err(self.trimmed());
        }
        Ok(offset.position.min(self.tail))
    }

    /// Refuses a read before the earliest position.
    pub fn trimmed(&self) -> ReadError {
        ReadError::Trimmed {
            earliest: self.offset(self.earliest()),
        }
    }
}

/// The changes of one commit to a stream.
pub(super) struct Update {
    pub record: Arc<StreamRecord>,
    pub rev: u64,
    /// Where the appends begin.
    pub base: Position,
    pub tail: Position,
    pub gone: Option<Gone>,
    /// The appends, each with its size in the store.
    pub appends: Vec<(usize, Bytes)>,
}

impl Stream {
    pub fn new(name: StreamName, stored: Stored, now: Millis) -> Self {
        let Stored { record, tail, rev } = stored;
        let content_type = ContentType::parse(&record.content_type).unwrap_or_else(|_| ContentType::default_type());
        Self {
            name,
            id: record.id,
            content_type,
            lifetime: record.lifetime,
            created_at: record.created_at,
            touched_at: AtomicU64::new(record.touched_at),
            used_at: AtomicU64::new(now),
            readers: AtomicUsize::new(0),
            flush_in_progress: AtomicBool::new(false),
            damage: OnceLock::new(),
            state: Mutex::new(State {
                tail,
                gone: record.soft_deleted.then_some(Gone::SoftDeleted),
                record: Arc::new(record),
                rev,
                recent: RecentChunks::default(),
            }),
            wake: Notify::new(),
        }
    }

    pub fn identity(&self) -> Identity {
        Identity {
            id: self.id,
            created_at: self.created_at,
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let state = self.state.lock();
        Snapshot {
            record: Arc::clone(&state.record),
            tail: state.tail,
            gone: state.gone,
        }
    }

    pub fn record(&self) -> Arc<StreamRecord> {
        Arc::clone(&self.state.lock().record)
    }

    /// The revision of the record.
    pub fn rev(&self) -> u64 {
        self.state.lock().rev
    }

    pub fn gone(&self) -> Option<Gone> {
        self.state.lock().gone
    }

    /// A position as an offset.
    pub fn offset(&self, position: Position) -> Offset {
        self.state.lock().record.offset(position)
    }

    /// Content between two positions.
    pub fn chunk(&self, start: Position, end: Position, content: Bytes) -> Chunk {
        let record = self.record();
        let kind = self.content_type.kind();
        Chunk::new(kind, record.offset(start), record.offset(end), content)
    }

    /// The chunk that begins at `at`, if live readers share it.
    pub fn recent(&self, at: Position) -> Option<Arc<Chunk>> {
        self.state.lock().recent.get(at)
    }

    pub fn publish(&self, update: Update) {
        let mut state = self.state.lock();
        if !self.has_readers() || update.base != state.tail {
            state.recent.clear();
        }
        if self.has_readers() && !update.appends.is_empty() {
            let kind = self.content_type.kind();
            let content = joined::join(kind, update.appends.into_iter(), 0);
            state.recent.push(content.into_chunk(kind, &update.record, update.base));
        }
        state.tail = update.tail;
        state.gone = update.gone;
        state.record = update.record;
        state.rev = update.rev;
        drop(state);
        self.wake.notify_waiters();
    }

    /// Publishes what the store has where that differs; `None`: the stream was removed.
    pub fn reset_to_stored(&self, stored: Option<Stored>) {
        let mut state = self.state.lock();
        match stored {
            Some(Stored { record, tail, rev }) => {
                if tail != state.tail {
                    state.recent.clear();
                }
                state.tail = tail;
                state.gone = record.soft_deleted.then_some(Gone::SoftDeleted);
                state.record = Arc::new(record);
                state.rev = rev;
            }
            None => state.gone = Some(Gone::Deleted),
        }
        drop(state);
        self.wake.notify_waiters();
    }

    /// The damage of its stored bytes: a damaged stream takes no appends.
    pub fn damage(&self) -> Option<&String> {
        self.damage.get()
    }

    pub fn mark_damaged(&self, what: &str) {
        self.damage.get_or_init(|| what.to_owned());
    }

    /// Notified of every publication.
    pub fn wake(&self) -> &Notify {
        &self.wake
    }

    /// Records a read or a write.
    pub fn touch(&self, now: Millis) {
        self.touched_at.fetch_max(now, Relaxed);
    }

    pub fn touched_at(&self) -> Millis {
        self.touched_at.load(Relaxed)
    }

    /// Whether the store has an earlier access time than memory, and needs a later one.
    pub fn has_unflushed_access_time(&self) -> bool {
        matches!(self.lifetime, Lifetime::Ttl(_)) && self.touched_at() > self.state.lock().record.touched_at
    }

    /// Claims the flush of the access time; true for one caller until [`Self::finish_flush`].
    pub fn claim_flush(&self) -> bool {
        !self.flush_in_progress.swap(true, Relaxed)
    }

    pub fn finish_flush(&self) {
        self.flush_in_progress.store(false, Relaxed);
    }

    pub fn mark_used(&self, now: Millis) {
        self.used_at.store(now, Relaxed);
    }

    pub fn used_at(&self) -> Millis {
        self.used_at.load(Relaxed)
    }

    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// A sliding lifetime does not run out under a live reader (section 5.1, `Stream-TTL`).
    pub fn expired(&self, now: Millis) -> bool {
        let is_held_open = matches!(self.lifetime, Lifetime::Ttl(_)) && self.has_readers();
        !is_held_open && deadline(self.lifetime, self.touched_at()).is_some_and(|deadline| deadline <= now)
    }

    pub fn has_readers(&self) -> bool {
        self.readers.load(Relaxed) > 0
    }

    pub fn add_reader(&self) {
        self.readers.fetch_add(1, Relaxed);
    }

    pub fn remove_reader(&self) {
        self.readers.fetch_sub(1, Relaxed);
    }
}
