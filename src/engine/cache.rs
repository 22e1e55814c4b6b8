//! The streams in use, by name. There is never more than one [`Stream`] for a name.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::stream::Stream;
use crate::{
    protocol::{Millis, StreamName},
    storage::{Storage, StorageError},
};

const SHARDS: usize = 64;
/// Streams that one shard keeps besides those that are held.
const MAX_IDLE_PER_SHARD: usize = 64;
/// How long an unused stream is kept.
const IDLE_TIMEOUT_MILLIS: Millis = 10_000;

pub(super) struct StreamCache {
    hasher: std::hash::RandomState,
    shards: Vec<Mutex<Shard>>,
}

/// Permits to insert what is read from the store. Void once the shard has evicted anything,
/// because what was read may be outdated then.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Ticket(u64);

#[derive(Default)]
struct Shard {
    streams: HashMap<StreamName, Arc<Stream>>,
    evictions: u64,
}

impl StreamCache {
    pub fn new() -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self {
            hasher: std::hash::RandomState::new(),
            shards,
        }
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
            let Some(stored) = storage.get(name)? else {
                return Ok(None);
            };
            if let Some(stream) = self.insert_read(Stream::new(name.clone(), stored, now), ticket) {
                return Ok(Some(stream));
            }
        }
    }

    fn get_or_ticket(&self, name: &StreamName) -> Result<Arc<Stream>, Ticket> {
        let shard = self.shard(name).lock();
        shard.streams.get(name).map(Arc::clone).ok_or(Ticket(shard.evictions))
    }

    /// Inserts what was read with a ticket. Returns the stream that is in memory now: this one, or
    /// the one that another reader inserted first; `None` when the ticket is void.
    fn insert_read(&self, stream: Stream, ticket: Ticket) -> Option<Arc<Stream>> {
        let mut shard = self.shard(&stream.name).lock();
        if let Some(present) = shard.streams.get(&stream.name) {
            return Some(Arc::clone(present));
        }
        if Ticket(shard.evictions) != ticket {
            return None;
        }
        shard.make_room();
        let stream = Arc::new(stream);
        shard.streams.insert(stream.name.clone(), Arc::clone(&stream));
        Some(stream)
    }

    /// Inserts a stream that was just created. Only the committer creates and removes.
    pub fn insert_committed(&self, stream: Arc<Stream>) {
        let mut shard = self.shard(&stream.name).lock();
        shard.make_room();
        shard.streams.entry(stream.name.clone()).or_insert(stream);
    }

    pub fn remove(&self, stream: &Stream) {
        let mut shard = self.shard(&stream.name).lock();
        if shard
            .streams
            .get(&stream.name)
            .is_some_and(|present| present.id == stream.id)
        {
            shard.streams.remove(&stream.name);
            shard.evictions += 1;
        }
    }

    /// Evicts streams that have not been used for a while. Returns those that stay because the
    /// store does not know their access time yet.
    pub fn evict_idle(&self, now: Millis) -> Vec<Arc<Stream>> {
        let mut unflushed = Vec::new();
        for shard in &self.shards {
            shard.lock().evict(|stream| {
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
            let streams = shard.streams.values();
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

    fn shard(&self, name: &StreamName) -> &Mutex<Shard> {
        use std::hash::BuildHasher;
        let index = usize::try_from(self.hasher.hash_one(name) % SHARDS as u64).unwrap_or(0);
        #[allow(clippy::indexing_slicing)] // the index is below SHARDS, the number of shards
        &self.shards[index]
    }
}

impl Shard {
    /// Evicts idle streams, except those that are held elsewhere: a second [`Stream`] of the same
    /// name could be made otherwise.
    fn evict(&mut self, mut is_idle: impl FnMut(&Arc<Stream>) -> bool) {
        let before = self.streams.len();
        self.streams
            .retain(|_, stream| Arc::strong_count(stream) > 1 || !is_idle(stream));
        if self.streams.len() < before {
            self.evictions += 1;
            self.streams.shrink_to(MAX_IDLE_PER_SHARD);
        }
    }

    /// Evicts the less recently used half of a full shard.
    fn make_room(&mut self) {
        if self.streams.len() < MAX_IDLE_PER_SHARD {
            return;
        }
        let mut used: Vec<Millis> = self.streams.values().map(|stream| stream.used_at()).collect();
        let (_, median, _) = used.select_nth_unstable(MAX_IDLE_PER_SHARD / 2);
        let median = *median;
        self.evict(|stream| stream.used_at() <= median && !stream.has_unflushed_access_time());
    }
}
