//! The streams in use, by name. There is never more than one [`Stream`] for a name that is not gone.
//!
//! With a store of its own, the engine knows of every change. What a shared store has of a stream
//! is compared with what is in memory ([`StreamCache::refreshed`]): another server may have replaced
//! the stream. Ids do not tell which of two streams of a name is the later one, so each stream in
//! memory knows since which ticket it is known to exist. What was read with a later ticket is the
//! truth.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};

use hashbrown::{HashTable, hash_table::Entry};
use parking_lot::{Mutex, MutexGuard};

use super::{
    expiry::Lifetimes,
    snapshot::Gone,
    stream::{Origin, Stream},
};
use crate::{
    protocol::{Millis, StreamName},
    storage::{Storage, StorageError, Stored},
};

const SHARDS: usize = 64;
/// Streams that one shard keeps besides those that are held.
const MAX_IDLE_PER_SHARD: usize = 64;
/// How long an unused stream is kept.
const IDLE_TIMEOUT_MILLIS: Millis = 10_000;

pub(super) struct StreamCache {
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
    lifetimes: Lifetimes,
    /// See [`crate::storage::SharedStore::history`].
    /// Changes only while all shards are locked, as does `drains`.
    history: AtomicU64,
    tickets: AtomicU64,
    drains: AtomicU64,
}

/// The moment before a read of a shared store.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadTicket {
    number: u64,
    drains: u64,
}

/// What a read of a shared store has found.
#[derive(Debug, Clone)]
pub(super) enum Refreshed {
    Found(Arc<Stream>),
    Absent,
    /// The stream was replaced during the read, whose answer means nothing.
    Outdated,
}

/// Permits to insert what is read from the store. Void once the shard has evicted anything,
/// because what was read may be outdated then.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ticket(u64);

#[derive(Default)]
struct Shard {
    /// By the hashes of their names.
    streams: HashTable<Arc<Stream>>,
    evictions: u64,
}

/// The place of a name in its locked shard. The name is hashed once for the shard and the table.
struct Slot<'c, 'n> {
    shard: MutexGuard<'c, Shard>,
    hasher: &'c RandomState,
    hash: u64,
    name: &'n StreamName,
}

impl Slot<'_, '_> {
    fn get(&self) -> Option<&Arc<Stream>> {
        let streams = &self.shard.streams;
        streams.find(self.hash, |stream| stream.name == *self.name)
    }

    /// Inserts a stream unless there is one.
    fn insert(&mut self, stream: Arc<Stream>) {
        let Self { shard, hasher, .. } = self;
        shard.make_room(hasher);
        let rehash = |stream: &Arc<Stream>| hasher.hash_one(&stream.name);
        let is_same = |present: &Arc<Stream>| present.name == stream.name;
        if let Entry::Vacant(vacant) = shard.streams.entry(self.hash, is_same, rehash) {
            vacant.insert(stream);
        }
    }

    fn remove(&mut self) {
        let Self { shard, hash, name, .. } = self;
        if let Ok(present) = shard.streams.find_entry(*hash, |stream| stream.name == **name) {
            present.remove();
        }
    }
}

impl StreamCache {
    /// A cache for a store with this history; `None`: with one holder.
    pub fn new(history: Option<u64>) -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self {
            hasher: RandomState::new(),
            shards,
            lifetimes: history.map_or_else(Lifetimes::default, |_| Lifetimes::shared()),
            history: AtomicU64::new(history.unwrap_or(0)),
            tickets: AtomicU64::new(0),
            drains: AtomicU64::new(0),
        }
    }

    pub fn lifetimes(&self) -> Lifetimes {
        self.lifetimes
    }

    pub fn history(&self) -> u64 {
        self.history.load(SeqCst)
    }

    /// The origin of streams that are read or created now.
    pub fn origin(&self) -> Origin {
        Origin {
            history: self.history(),
            lifetimes: self.lifetimes,
        }
    }

    /// Taken before a read of a shared store.
    pub fn ticket(&self) -> ReadTicket {
        ReadTicket {
            drains: self.drains.load(SeqCst),
            number: self.tickets.fetch_add(1, SeqCst) + 1,
        }
    }

    /// Makes memory agree with what was read from a shared store with `ticket`.
    pub fn refreshed(&self, name: &StreamName, stored: Option<Stored>, ticket: ReadTicket, now: Millis) -> Refreshed {
        let mut slot = self.slot(name);
        if self.drains.load(SeqCst) != ticket.drains {
            return Refreshed::Outdated;
        }
        if let Some(present) = slot.get() {
            let present = Arc::clone(present);
            match stored {
                Some(stored) if stored.record.id == present.id => {
                    drop(slot);
                    present.take_over(stored, None);
                    return Refreshed::Found(present);
                }
                _ if present.known_since() >= ticket.number => return Refreshed::Outdated,
                _ => {
                    slot.remove();
                    present.end(Gone::Deleted);
                }
            }
        }
        let Some(stored) = stored else { return Refreshed::Absent };
        let stream = Arc::new(Stream::new(name.clone(), stored, now, self.origin()));
        stream.set_known_since(self.tickets.load(SeqCst));
        slot.insert(Arc::clone(&stream));
        Refreshed::Found(stream)
    }

    /// Another server has removed a stream.
    fn removed(&self, stream: &Stream) {
        self.remove(stream);
        stream.end(Gone::Deleted);
    }

    /// Forgets every stream, because the store has another history. Returns them.
    ///
    /// All shards are locked meanwhile, so a later lookup finds no stream of the earlier history.
    pub fn drain(&self, history: u64) -> Vec<Arc<Stream>> {
        let mut shards: Vec<_> = self.shards.iter().map(Mutex::lock).collect();
        if self.history() == history {
            return Vec::new();
        }
        self.drains.fetch_add(1, SeqCst);
        let mut drained = Vec::new();
        for shard in &mut shards {
            shard.evictions += 1;
            drained.extend(shard.streams.drain());
        }
        drained.iter().for_each(|stream| stream.end(Gone::Outdated));
        // Last, so that a thread that reads the new history finds no stream of the old one.
        self.history.store(history, SeqCst);
        drained
    }

    /// The stream of a name, if it is in memory.
    pub fn get(&self, name: &StreamName) -> Option<Arc<Stream>> {
        self.get_or_ticket(name).ok()
    }

    /// The stream of a name, read from the store if it is not in memory. May block if the store
    /// does.
    pub fn get_or_load(
        &self,
        name: &StreamName,
        storage: &dyn Storage,
        now: Millis,
    ) -> Result<Option<Arc<Stream>>, StorageError> {
        loop {
            let ticket = match self.get_or_ticket(name) {
                Ok(stream) => return Ok(Some(stream)),
                Err(ticket) => ticket,
            };
            let origin = self.origin();
            let Some(stored) = storage.get(name)? else {
                return Ok(None);
            };
            let stream = Stream::new(name.clone(), stored, now, origin);
            if let Some(stream) = self.insert_read(stream, ticket) {
                return Ok(Some(stream));
            }
        }
    }

    /// Publishes what the store has of a stream, where that differs from what is published.
    pub fn reset(&self, stream: &Stream, stored: Option<Stored>) {
        let stored = stored.filter(|stored| stored.record.id == stream.id);
        match stored {
            Some(stored) if self.lifetimes.are_shared() => stream.take_over(stored, None),
            Some(stored) => stream.reset_to_stored(stored),
            None => self.removed(stream),
        }
    }

    fn get_or_ticket(&self, name: &StreamName) -> Result<Arc<Stream>, Ticket> {
        let slot = self.slot(name);
        slot.get().map(Arc::clone).ok_or(Ticket(slot.shard.evictions))
    }

    /// Inserts what was read with a ticket. Returns the stream that is in memory now: this one, or
    /// the one that another reader inserted first; `None` when the ticket is void.
    fn insert_read(&self, stream: Stream, ticket: Ticket) -> Option<Arc<Stream>> {
        let stream = Arc::new(stream);
        let mut slot = self.slot(&stream.name);
        if let Some(present) = slot.get() {
            return Some(Arc::clone(present));
        }
        if Ticket(slot.shard.evictions) != ticket {
            return None;
        }
        stream.set_known_since(self.tickets.load(SeqCst));
        slot.insert(Arc::clone(&stream));
        drop(slot);
        Some(stream)
    }

    /// Inserts a stream that was just created. A stream that is there was read from a shared store
    /// since, or is about to be replaced by the next read.
    pub fn insert_committed(&self, stream: Arc<Stream>) {
        let mut slot = self.slot(&stream.name);
        if stream.origin().history != self.history() {
            return;
        }
        stream.set_known_since(self.tickets.load(SeqCst));
        slot.insert(Arc::clone(&stream));
    }

    /// Forgets a stream that has ended, if it is still in memory.
    pub fn forget(&self, ended: &Arc<Stream>) {
        let mut slot = self.slot(&ended.name);
        if slot.get().is_some_and(|present| Arc::ptr_eq(present, ended)) {
            slot.remove();
            slot.shard.evictions += 1;
        }
    }

    pub fn remove(&self, stream: &Stream) {
        let mut slot = self.slot(&stream.name);
        if slot.get().is_some_and(|present| present.id == stream.id) {
            slot.remove();
            slot.shard.evictions += 1;
        }
    }

    /// Evicts streams that have not been used for a while. Returns those that stay because the
    /// store does not know their access time yet.
    pub fn evict_idle(&self, now: Millis) -> Vec<Arc<Stream>> {
        let mut unflushed = Vec::new();
        for shard in &self.shards {
            shard.lock().evict(&self.hasher, |stream| {
                if stream.used_at() + IDLE_TIMEOUT_MILLIS > now {
                    return false;
                }
                let must_stay = stream.has_unflushed_access_time();
                if must_stay {
                    unflushed.push(Arc::clone(stream));
                }
                !must_stay
            });
        }
        unflushed
    }

    /// The streams whose access time the store does not know yet.
    pub fn unflushed(&self) -> Vec<Arc<Stream>> {
        let unflushed = |shard: &Mutex<Shard>| -> Vec<Arc<Stream>> {
            let shard = shard.lock();
            let streams = shard.streams.iter();
            streams
                .filter(|stream| stream.has_unflushed_access_time())
                .map(Arc::clone)
                .collect()
        };
        self.shards.iter().flat_map(unflushed).collect()
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().streams.len()).sum()
    }

    fn slot<'c, 'n>(&'c self, name: &'n StreamName) -> Slot<'c, 'n> {
        let hash = self.hasher.hash_one(name);
        // The table uses the other bits.
        let index = usize::try_from((hash >> 32) % SHARDS as u64).unwrap_or(0);
        #[allow(clippy::indexing_slicing)] // the index is below SHARDS, the number of shards
        let shard = self.shards[index].lock();
        Slot {
            shard,
            hasher: &self.hasher,
            hash,
            name,
        }
    }
}

impl Shard {
    /// Evicts idle streams, except those that are held elsewhere: a second [`Stream`] of the same
    /// name could be made otherwise.
    fn evict(&mut self, hasher: &RandomState, mut is_idle: impl FnMut(&Arc<Stream>) -> bool) {
        let before = self.streams.len();
        self.streams
            .retain(|stream| Arc::strong_count(stream) > 1 || !is_idle(stream));
        if self.streams.len() < before {
            self.evictions += 1;
            self.streams
                .shrink_to(MAX_IDLE_PER_SHARD, |stream| hasher.hash_one(&stream.name));
        }
    }

    /// Evicts the less recently used half of a full shard.
    fn make_room(&mut self, hasher: &RandomState) {
        if self.streams.len() < MAX_IDLE_PER_SHARD {
            return;
        }
        let mut used: Vec<Millis> = self.streams.iter().map(|stream| stream.used_at()).collect();
        let (_, median, _) = used.select_nth_unstable(MAX_IDLE_PER_SHARD / 2);
        let median = *median;
        self.evict(hasher, |stream| {
            stream.used_at() <= median && !stream.has_unflushed_access_time()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::contract::record;

    /// A batch that is judged after the change must not find a stream of the earlier history.
    #[test]
    fn the_history_changes_for_all_streams_at_once() {
        let cache = StreamCache::new(Some(1));
        let stored = Stored {
            record: record(1),
            tail: 0,
            rev: 1,
        };
        let name = StreamName::new("s").unwrap();
        let Refreshed::Found(stream) = cache.refreshed(&name, Some(stored), cache.ticket(), 0) else {
            panic!("not found");
        };
        let begun = cache.ticket();
        let (first, last) = (cache.shards.first().unwrap(), cache.shards.last().unwrap());
        std::thread::scope(|scope| {
            let held = last.lock();
            let draining = scope.spawn(|| cache.drain(2).len());
            while first.try_lock().is_some() && cache.history() == 1 {
                std::thread::yield_now();
            }
            assert_eq!((cache.history(), stream.gone()), (1, None));
            drop(held);
            assert_eq!(draining.join().unwrap(), 1);
        });
        assert_eq!((cache.history(), stream.gone()), (2, Some(Gone::Outdated)));
        assert!(cache.get(&name).is_none());
        // A read that began before the drain does not count.
        assert!(matches!(cache.refreshed(&name, None, begun, 0), Refreshed::Outdated));
    }
}
