//! A stream in memory: what is published of it, and who waits for more.

use std::{
    collections::VecDeque,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    chunk::{self, Chunk},
    errors::ReadError,
    expiry::deadline,
};
use crate::{
    protocol::{ContentType, Lifetime, Millis, Offset, ReadFrom, StreamName},
    storage::{Position, Stored, StreamId, StreamRecord},
};

/// Bytes of one stream that live readers share in memory. Those further back read the store.
const RECENT_BYTES: usize = 256 * 1024;
const RECENT_CHUNKS: usize = 64;

/// A stream that somebody uses right now. Idle ones are not in memory.
///
/// Only the committer changes what is published here, after it is as durable as the
/// backend promises; everybody else reads it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) name: StreamName,
    pub(super) id: StreamId,
    pub(super) content_type: ContentType,
    lifetime: Lifetime,
    created_at: Millis,
    /// The last read or write, for sliding lifetimes.
    touched_at: AtomicU64,
    /// The last use of any kind; the cache forgets streams that were not used for a while.
    used_at: AtomicU64,
    readers: AtomicUsize,
    /// A touch is on its way to the store.
    touching: AtomicBool,
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
    recent: VecDeque<Arc<Chunk>>,
    recent_bytes: usize,
}

/// Why a stream is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// Deleted or expired.
    Deleted,
    /// Deleted, and kept for its forks.
    SoftDeleted,
}

/// Names a stream and its bytes for ever, also beyond the life of a store that loses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    id: StreamId,
    created_at: Millis,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x}", self.created_at, self.id)
    }
}

/// A stream as it was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The position after the last byte.
    pub tail: Position,
    /// The earliest position that can be read.
    pub earliest: Position,
    /// No more appends.
    pub closed: bool,
    /// Why it is gone, if it is.
    pub gone: Option<Gone>,
}

/// The changes of one commit to a stream.
pub(super) struct Update {
    pub(super) record: Arc<StreamRecord>,
    pub(super) rev: u64,
    /// Where the appends begin.
    pub(super) base: Position,
    pub(super) tail: Position,
    pub(super) gone: Option<Gone>,
    /// The appends, each with its size in the store.
    pub(super) appends: Vec<(usize, Bytes)>,
}

impl Stream {
    pub(super) fn new(name: StreamName, stored: Stored, now: Millis) -> Self {
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
            touching: AtomicBool::new(false),
            damage: OnceLock::new(),
            state: Mutex::new(State {
                tail,
                gone: record.soft_deleted.then_some(Gone::SoftDeleted),
                record: Arc::new(record),
                rev,
                recent: VecDeque::new(),
                recent_bytes: 0,
            }),
            wake: Notify::new(),
        }
    }

    pub(super) fn identity(&self) -> Identity {
        Identity {
            id: self.id,
            created_at: self.created_at,
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let state = self.state.lock();
        Snapshot {
            tail: state.tail,
            earliest: state.record.earliest(),
            closed: state.record.closed,
            gone: state.gone,
        }
    }

    pub(super) fn record(&self) -> (Arc<StreamRecord>, Position, Option<Gone>) {
        let state = self.state.lock();
        (Arc::clone(&state.record), state.tail, state.gone)
    }

    /// The revision of the record.
    pub(super) fn rev(&self) -> u64 {
        self.state.lock().rev
    }

    /// A position as an offset.
    pub(super) fn offset(&self, position: Position) -> Offset {
        self.state.lock().record.offset(position)
    }

    /// Content between two positions.
    pub(super) fn chunk(&self, start: Position, end: Position, content: Bytes) -> Chunk {
        let (record, ..) = self.record();
        let kind = self.content_type.kind();
        Chunk::new(kind, record.offset(start), record.offset(end), content)
    }

    /// The position where a read begins. An offset of this life beyond the tail names the tail:
    /// a reader that has more than there is waits for what comes.
    pub(super) fn resolve(&self, from: ReadFrom, now: &Snapshot) -> Result<Position, ReadError> {
        let offset = match from {
            ReadFrom::Beginning => return Ok(now.earliest),
            ReadFrom::Now => return Ok(now.tail),
            ReadFrom::At(offset) => offset,
        };
        let (record, ..) = self.record();
        if !record.gave_out(offset) {
            return Err(ReadError::OtherLife {
                tail: record.offset(now.tail),
            });
        }
        if offset.position < now.earliest {
            return Err(ReadError::GivenUp {
                earliest: record.offset(now.earliest),
            });
        }
        Ok(offset.position.min(now.tail))
    }

    /// The chunk that begins at `at`, if live readers share it right now.
    pub(super) fn recent(&self, at: Position) -> Option<Arc<Chunk>> {
        let state = self.state.lock();
        let index = state
            .recent
            .binary_search_by_key(&at, |chunk| chunk.start.position)
            .ok()?;
        state.recent.get(index).map(Arc::clone)
    }

    pub(super) fn publish(&self, update: Update) {
        let mut state = self.state.lock();
        if self.readers.load(Relaxed) == 0 || update.base != state.tail {
            state.recent.clear();
            state.recent_bytes = 0;
        }
        if self.readers.load(Relaxed) > 0 && !update.appends.is_empty() {
            let (kind, start) = (self.content_type.kind(), update.base);
            let joined = chunk::join(kind, update.appends.into_iter(), 0);
            let end = start + joined.stored as u64;
            let offset = |position| update.record.offset(position);
            let chunk = Chunk::new(kind, offset(start), offset(end), joined.content);
            let (whole, len) = joined.whole;
            state.remember(chunk.torn_after(start + whole as u64, len));
        }
        state.tail = update.tail;
        state.gone = update.gone;
        state.record = update.record;
        state.rev = update.rev;
        drop(state);
        self.wake.notify_waiters();
    }

    /// Takes over what the store has, where that is not what is published; `None`: nothing.
    pub(super) fn reset_to_stored(&self, stored: Option<Stored>) {
        let mut state = self.state.lock();
        match stored {
            Some(Stored { record, tail, rev }) => {
                if tail != state.tail {
                    state.recent.clear();
                    state.recent_bytes = 0;
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

    /// The damage of its stored bytes: the stream takes no appends.
    pub(super) fn damage(&self) -> Option<&String> {
        self.damage.get()
    }

    pub(super) fn mark_damaged(&self, what: &str) {
        self.damage.get_or_init(|| what.to_owned());
    }

    pub(super) fn wake(&self) -> &Notify {
        &self.wake
    }

    pub(super) fn touch(&self, now: Millis) {
        self.touched_at.fetch_max(now, Relaxed);
    }

    pub(super) fn touched_at(&self) -> Millis {
        self.touched_at.load(Relaxed)
    }

    pub(super) fn mark_used(&self, now: Millis) {
        self.used_at.store(now, Relaxed);
    }

    pub(super) fn used_at(&self) -> Millis {
        self.used_at.load(Relaxed)
    }

    /// Whether whoever asks is the one to send a touch to the store; so until it has been there.
    pub(super) fn begin_touch(&self) -> bool {
        !self.touching.swap(true, Relaxed)
    }

    pub(super) fn end_touch(&self) {
        self.touching.store(false, Relaxed);
    }

    /// Whether a read is remembered here that the store does not know of.
    pub(super) fn owes_touch(&self) -> bool {
        matches!(self.lifetime, Lifetime::Ttl(_)) && self.touched_at() > self.state.lock().record.touched_at
    }

    pub(super) fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// When it ends if nothing more is read or written.
    pub(super) fn deadline(&self) -> Option<Millis> {
        deadline(self.lifetime, self.touched_at())
    }

    /// A sliding lifetime does not run out under a live reader (section 5.1, `Stream-TTL`).
    pub(super) fn expired(&self, now: Millis) -> bool {
        let held_open = matches!(self.lifetime, Lifetime::Ttl(_)) && self.readers.load(Relaxed) > 0;
        !held_open && self.deadline().is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn has_readers(&self) -> bool {
        self.readers.load(Relaxed) > 0
    }

    pub(super) fn enter(&self) {
        self.readers.fetch_add(1, Relaxed);
    }

    pub(super) fn leave(&self) {
        self.readers.fetch_sub(1, Relaxed);
    }
}

impl State {
    fn remember(&mut self, chunk: Chunk) {
        self.recent_bytes += chunk.stored().len();
        self.recent.push_back(Arc::new(chunk));
        while self.recent.len() > 1 && (self.recent_bytes > RECENT_BYTES || self.recent.len() > RECENT_CHUNKS) {
            if let Some(oldest) = self.recent.pop_front() {
                self.recent_bytes -= oldest.stored().len();
            }
        }
    }
}

/// Pieces as one run of bytes; a single one is not copied.
pub(super) fn join(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1 {
        return pieces.swap_remove(0);
    }
    let mut joined = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in &pieces {
        joined.extend_from_slice(piece);
    }
    joined.freeze()
}
