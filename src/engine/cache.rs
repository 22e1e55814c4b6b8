//! The streams that are in use, by name. There is never more than one [`Stream`] for a name.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::stream::Stream;
use crate::{
    protocol::{Millis, StreamName},
    storage::{Storage, StorageError, Stored},
};

const SHARDS: usize = 64;
/// Streams that one shard keeps beyond those that somebody holds.
const IDLE_PER_SHARD: usize = 64;
/// How long an unused stream is kept.
const IDLE_MILLIS: Millis = 10_000;

pub(super) struct StreamCache {
    hasher: std::hash::RandomState,
    shards: Vec<Mutex<Shard>>,
}

/// A ticket to insert what was just read from the store; void if the shard has forgotten
/// anything since, because what was read may be outdated then.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

#[derive(Default)]
struct Shard {
    streams: HashMap<StreamName, Arc<Stream>>,
    forgotten: u64,
}

impl StreamCache {
    pub(super) fn new() -> Self {
        let shards = std::iter::repeat_with(Mutex::default).take(SHARDS).collect();
        Self {
            hasher: std::hash::RandomState::new(),
            shards,
        }
    }

    pub(super) fn get(&self, name: &StreamName) -> Result<Arc<Stream>, Ticket> {
        let shard = self.shard(name).lock();
        shard.streams.get(name).map(Arc::clone).ok_or(Ticket(shard.forgotten))
    }

    /// The stream of a name, read from the store unless it is in memory.
    pub(super) fn get_or_load(
        &self,
        name: &StreamName,
        storage: &dyn Storage,
        now: Millis,
    ) -> Result<Option<Arc<Stream>>, StorageError> {
        loop {
            let ticket = match self.get(name) {
                Ok(stream) => return Ok(Some(stream)),
                Err(ticket) => ticket,
            };
            let Some(stored) = storage.get(name)? else {
                return Ok(None);
            };
            let stream = Stream::new(name.clone(), stored, now);
            if let Some(stream) = self.insert_read(stream, ticket) {
                return Ok(Some(stream));
            }
        }
    }

    /// Takes over what the store has under a stream's name, where that is not what is published.
    pub(super) fn reset(&self, stream: &Stream, stored: Option<Stored>) {
        let stored = stored.filter(|stored| stored.record.id == stream.id);
        if stored.is_none() {
            self.remove(stream);
        }
        stream.reset_to_stored(stored);
    }

    /// Inserts what was read with a ticket. Answers what is there now: what was inserted, or
    /// what another was faster to insert; `None` when the ticket is void.
    pub(super) fn insert_read(&self, stream: Stream, ticket: Ticket) -> Option<Arc<Stream>> {
        let mut shard = self.shard(&stream.name).lock();
        if let Some(present) = shard.streams.get(&stream.name) {
            return Some(Arc::clone(present));
        }
        if Ticket(shard.forgotten) != ticket {
            return None;
        }
        shard.make_room();
        let stream = Arc::new(stream);
        shard.streams.insert(stream.name.clone(), Arc::clone(&stream));
        Some(stream)
    }

    /// Inserts on the word of the committer, who alone creates and removes.
    pub(super) fn insert_committed(&self, stream: Arc<Stream>) {
        let mut shard = self.shard(&stream.name).lock();
        shard.make_room();
        shard.streams.entry(stream.name.clone()).or_insert(stream);
    }

    pub(super) fn remove(&self, stream: &Stream) {
        let mut shard = self.shard(&stream.name).lock();
        if shard
            .streams
            .get(&stream.name)
            .is_some_and(|present| present.id == stream.id)
        {
            shard.streams.remove(&stream.name);
            shard.forgotten += 1;
        }
    }

    /// Forgets streams that nobody has used for a while. Those for which `keep` says so stay.
    pub(super) fn forget_idle(&self, now: Millis, keep: impl Fn(&Arc<Stream>) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.forget(|stream| stream.used_at() + IDLE_MILLIS <= now && !keep(stream));
        }
    }

    /// The streams of which memory knows a read that the store does not.
    pub(super) fn owing_touch(&self) -> Vec<Arc<Stream>> {
        let owing = |shard: &Mutex<Shard>| -> Vec<Arc<Stream>> {
            let shard = shard.lock();
            let owing = shard.streams.values().filter(|stream| stream.owes_touch());
            owing.map(Arc::clone).collect()
        };
        self.shards.iter().flat_map(owing).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().streams.len()).sum()
    }

    fn shard(&self, name: &StreamName) -> &Mutex<Shard> {
        use std::hash::BuildHasher;
        let index = usize::try_from(self.hasher.hash_one(name) % SHARDS as u64).unwrap_or(0);
        #[allow(clippy::indexing_slicing)] // the index is below SHARDS, and so many there are
        &self.shards[index]
    }
}

impl Shard {
    /// A stream is only forgotten while nobody else holds it: there would be two of it otherwise.
    fn forget(&mut self, idle: impl Fn(&Arc<Stream>) -> bool) {
        let before = self.streams.len();
        self.streams
            .retain(|_, stream| Arc::strong_count(stream) > 1 || !idle(stream));
        if self.streams.len() < before {
            self.forgotten += 1;
            self.streams.shrink_to(IDLE_PER_SHARD);
        }
    }

    fn make_room(&mut self) {
        if self.streams.len() < IDLE_PER_SHARD {
            return;
        }
        let mut used: Vec<Millis> = self.streams.values().map(|stream| stream.used_at()).collect();
        let (_, median, _) = used.select_nth_unstable(IDLE_PER_SHARD / 2);
        let median = *median;
        self.forget(|stream| stream.used_at() <= median && !stream.owes_touch());
    }
}
