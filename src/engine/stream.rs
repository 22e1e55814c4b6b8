//! A stream in memory: its published state, and a signal for those who wait for more.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Poll, Waker},
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};

use super::{
    chunk::{Chunk, LastRead},
    chunk_cache,
    expiry::Lifetimes,
    joined,
    recent::RecentChunks,
    snapshot::{Gone, Identity, Snapshot},
};
use crate::{
    protocol::{ContentType, Lifetime, Millis, Offset, StreamName},
    storage::{Position, Stored, StreamId, StreamRecord},
    wakers::{Place, Wakers},
};

/// A stream in use. Idle ones are not in memory.
///
/// The committer publishes, once the change is as durable as the backend promises; everyone else
/// reads. What other servers have committed to a shared store is taken over as it is read.
#[derive(Debug)]
pub(super) struct Stream {
    pub name: StreamName,
    pub id: StreamId,
    pub content_type: ContentType,
    lifetime: Lifetime,
    created_at: Millis,
    origin: Origin,
    /// The ticket of the cache after which it is known to exist; see [`super::cache`].
    known_since: AtomicU64,
    /// The last read or write, for sliding lifetimes.
    touched_at: AtomicU64,
    /// The last use of any kind, for eviction from the cache.
    used_at: AtomicU64,
    readers: AtomicUsize,
    /// `touched_at` is being written to the store.
    flush_in_progress: AtomicBool,
    /// The bytes that the store has lost, if any.
    damage: OnceLock<String>,
    /// See [`Stream::unwatched_as_of`].
    unwatched_as_of: AtomicU64,
    /// Changes only while `state` is locked, so that under the lock it is that of the record.
    tail: AtomicU64,
    state: Mutex<State>,
}

/// The store that a stream was read from or written to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// 0 for a store with one holder, whose history never changes.
    pub history: u64,
    pub lifetimes: Lifetimes,
}

#[derive(Debug)]
struct State {
    gone: Option<Gone>,
    record: Arc<StreamRecord>,
    rev: u64,
    recent: RecentChunks,
    last_read: Option<LastRead>,
    /// Live readers that wait for the next publication.
    waiting: Wakers,
}

impl State {
    fn note_last_read(&mut self, read: LastRead) {
        if self.last_read.is_none_or(|last| last.end < read.end) {
            self.last_read = Some(read);
        }
    }
}

/// The state of a stream in which a live reader has something to do.
pub(super) struct News {
    pub snapshot: Snapshot,
    /// The chunk at its position, if live readers share it.
    pub recent: Option<Arc<Chunk>>,
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

/// Bytes that were read from the store, from one tail to a later one.
pub(super) struct Run {
    pub start: Position,
    pub bytes: Bytes,
}

impl Run {
    fn end(&self) -> Position {
        self.start + self.bytes.len() as u64
    }
}

/// Wakes the live readers after a publication, without the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let woken = state.waiting.take();
    drop(state);
    woken.wake();
}

impl Stream {
    pub fn new(name: StreamName, stored: Stored, now: Millis, origin: Origin) -> Self {
        let Stored { record, tail, rev } = stored;
        let content_type = ContentType::parse(&record.content_type).unwrap_or_else(|_| ContentType::default_type());
        Self {
            name,
            id: record.id,
            content_type,
            lifetime: record.lifetime,
            created_at: record.created_at,
            origin,
            known_since: AtomicU64::new(0),
            touched_at: AtomicU64::new(record.touched_at),
            used_at: AtomicU64::new(now),
            readers: AtomicUsize::new(0),
            flush_in_progress: AtomicBool::new(false),
            damage: OnceLock::new(),
            unwatched_as_of: AtomicU64::new(0),
            tail: AtomicU64::new(tail),
            state: Mutex::new(State {
                gone: record.soft_deleted.then_some(Gone::SoftDeleted),
                record: Arc::new(record),
                rev,
                recent: RecentChunks::default(),
                last_read: None,
                waiting: Wakers::default(),
            }),
        }
    }

    pub fn identity(&self) -> Identity {
        Identity {
            id: self.id,
            created_at: self.created_at,
            history: self.origin.history,
        }
    }

    pub fn origin(&self) -> Origin {
        self.origin
    }

    pub fn known_since(&self) -> u64 {
        self.known_since.load(Relaxed)
    }

    pub fn set_known_since(&self, ticket: u64) {
        self.known_since.store(ticket, Relaxed);
    }

    pub fn snapshot(&self) -> Snapshot {
        self.snapshot_with_rev().0
    }

    /// The published state, and the revision of its record.
    pub fn snapshot_with_rev(&self) -> (Snapshot, u64) {
        let state = self.state.lock();
        (self.snapshot_of(&state), state.rev)
    }

    fn snapshot_of(&self, state: &State) -> Snapshot {
        Snapshot {
            record: Arc::clone(&state.record),
            tail: self.tail(),
            gone: state.gone,
            is_fresh: self.origin.lifetimes.are_shared(),
        }
    }

    pub fn record(&self) -> Arc<StreamRecord> {
        Arc::clone(&self.state.lock().record)
    }

    /// The revision of the record, and the tail.
    pub fn version(&self) -> (u64, Position) {
        let state = self.state.lock();
        (state.rev, self.tail())
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

    /// The key of the chunk between two positions.
    pub fn chunk_key(&self, start: Position, end: Position) -> chunk_cache::Key {
        (self.id, start, end, self.origin.history)
    }

    /// The chunk that begins at `at`, if live readers share it.
    pub fn recent(&self, at: Position) -> Option<Arc<Chunk>> {
        self.state.lock().recent.get(at)
    }

    /// Notes what a reader was given, of a shared store, which may lose it.
    pub fn note_read(&self, chunk: &Chunk) {
        if self.origin.lifetimes.are_shared() {
            self.note_last_read(LastRead::of(chunk));
        }
    }

    /// Notes what a reader has.
    pub fn note_last_read(&self, read: LastRead) {
        self.state.lock().note_last_read(read);
    }

    /// Forgets the shared chunks, but not that readers were given them.
    fn clear_recent(&self, state: &mut State) {
        if let Some(last) = state.recent.last()
            && self.origin.lifetimes.are_shared()
        {
            let read = LastRead::of(last);
            state.note_last_read(read);
        }
        state.recent.clear();
    }

    /// The last content that readers of this server have, or are about to be given.
    pub fn last_read(&self) -> Option<LastRead> {
        let state = self.state.lock();
        let published = state.recent.last().map(|chunk| LastRead::of(chunk));
        let noted = state.last_read;
        published.into_iter().chain(noted).max_by_key(|read| read.end)
    }

    /// Publishes a commit. Another path may have taken over a later state by now.
    pub fn publish(&self, update: Update) {
        let mut state = self.state.lock();
        let tail = self.tail();
        let is_news = update.tail >= tail;
        if !self.has_readers() || (is_news && update.base != tail) {
            self.clear_recent(&mut state);
        }
        if is_news && self.has_readers() && !update.appends.is_empty() && update.tail > tail {
            let kind = self.content_type.kind();
            let content = joined::join(kind, update.appends.into_iter(), 0);
            state.recent.push(content.into_chunk(kind, &update.record, update.base));
        }
        if is_news {
            self.tail.store(update.tail, Release);
        }
        if update.rev >= state.rev {
            state.record = update.record;
            state.rev = update.rev;
            if state.gone.is_none() {
                state.gone = update.gone;
            }
        }
        if update.gone == Some(Gone::Deleted) {
            state.gone = update.gone;
        }
        wake(state);
    }

    /// Takes over what the store has, as far as it is newer, with the bytes that came with it.
    ///
    /// A revision and a tail only grow, and are read together, so the greater of each are those of
    /// the later state.
    pub fn take_over(&self, stored: Stored, run: Option<Run>) {
        let Stored { record, tail, rev } = stored;
        let mut state = self.state.lock();
        let is_news = rev > state.rev || tail > self.tail();
        if rev > state.rev {
            self.touch(record.touched_at);
            if state.gone.is_none() {
                state.gone = record.soft_deleted.then_some(Gone::SoftDeleted);
            }
            state.record = Arc::new(record);
            state.rev = rev;
        }
        self.advance(&mut state, tail, run);
        if is_news {
            wake(state);
        }
    }

    /// Takes over bytes that another server has appended.
    pub fn extend(&self, run: Run) {
        let mut state = self.state.lock();
        let tail = run.end();
        self.advance(&mut state, tail, Some(run));
        wake(state);
    }

    /// Moves the tail on, and keeps the bytes for live readers if they meet what they already share.
    fn advance(&self, state: &mut State, tail: Position, run: Option<Run>) {
        let run = run.filter(|_| self.has_readers());
        let chunk = |state: &State, run: &Run| {
            let kind = self.content_type.kind();
            joined::stored_chunk(kind, &state.record, run.start, &run.bytes)
        };
        let known = self.tail();
        if tail <= known {
            // A commit of this server was published first.
            if let Some(run) = run.filter(|run| state.recent.begins_at(run.end()))
                && let Some(chunk) = chunk(state, &run)
            {
                state.recent.push_front(chunk);
            }
            return;
        }
        match run.filter(|run| run.start == known && run.end() == tail) {
            Some(run) => match chunk(state, &run) {
                Some(chunk) => state.recent.push(chunk),
                None => self.clear_recent(state),
            },
            None => self.clear_recent(state),
        }
        self.tail.store(tail, Release);
    }

    /// Another server has deleted it, or the store has another history.
    pub fn end(&self, gone: Gone) {
        let mut state = self.state.lock();
        if state.gone != Some(Gone::Deleted) {
            state.gone = Some(gone);
        }
        wake(state);
    }

    /// Publishes what the store has where that differs.
    pub fn reset_to_stored(&self, stored: Stored) {
        let Stored { record, tail, rev } = stored;
        let mut state = self.state.lock();
        if tail != self.tail() {
            self.clear_recent(&mut state);
        }
        self.tail.store(tail, Release);
        state.gone = record.soft_deleted.then_some(Gone::SoftDeleted);
        state.record = Arc::new(record);
        state.rev = rev;
        wake(state);
    }

    /// The damage of its stored bytes: a damaged stream takes no appends.
    pub fn damage(&self) -> Option<&String> {
        self.damage.get()
    }

    pub fn mark_damaged(&self, what: &str) {
        self.damage.get_or_init(|| what.to_owned());
    }

    /// The version of the watch at which nobody watched this stream; 0: unknown.
    pub fn unwatched_as_of(&self) -> u64 {
        self.unwatched_as_of.load(Relaxed)
    }

    pub fn set_unwatched_as_of(&self, version: u64) {
        self.unwatched_as_of.store(version, Relaxed);
    }

    /// Ready once a reader at `at` has something to do. A reader that has looked at the content up
    /// to `seen` waits for more, though it could not take all of it.
    pub fn poll_news(&self, at: Position, seen: Position, place: &mut Option<Place>, waker: &Waker) -> Poll<News> {
        let mut state = self.state.lock();
        let is_idle = self.tail() <= at.max(seen)
            && at >= state.record.earliest()
            && state.gone.is_none()
            && !state.record.closed;
        if is_idle {
            let earlier = state.waiting.register(place, waker);
            drop(state);
            drop(earlier);
            return Poll::Pending;
        }
        Poll::Ready(News {
            snapshot: self.snapshot_of(&state),
            recent: state.recent.get(at),
        })
    }

    /// Ready at the next publication after the first poll with this `place`.
    pub fn poll_published(&self, place: &mut Option<Place>, waker: &Waker) -> Poll<()> {
        let mut state = self.state.lock();
        if place.as_ref().is_some_and(|place| state.waiting.has_woken(place)) {
            *place = None;
            return Poll::Ready(());
        }
        let earlier = state.waiting.register(place, waker);
        drop(state);
        drop(earlier);
        Poll::Pending
    }

    /// Takes back the registration of a reader that no longer waits.
    pub fn withdraw(&self, place: &mut Option<Place>) {
        let mut state = self.state.lock();
        let withdrawn = state.waiting.withdraw(place);
        drop(state);
        drop(withdrawn);
    }

    /// The bytes between `at` and the tail, of which retention may have trimmed some. Every reader
    /// asks before each event, so it takes no lock.
    pub fn backlog(&self, at: Position) -> u64 {
        self.tail().saturating_sub(at)
    }

    fn tail(&self) -> Position {
        self.tail.load(Acquire)
    }

    /// Has the live readers look again.
    pub fn wake(&self) {
        wake(self.state.lock());
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
        if self.origin.lifetimes.are_shared() {
            return self.origin.lifetimes.needs_flush(&self.record(), self.touched_at());
        }
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
        let deadline = self.origin.lifetimes.deadline(self.lifetime, self.touched_at());
        !is_held_open && deadline.is_some_and(|deadline| deadline <= now)
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
