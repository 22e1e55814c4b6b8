//! Streams in memory, lost on restart.
//!
//! One lock covers everything. A batch holds it for the few microseconds that it takes to link its
//! buffers, so reads may run on async workers.

mod entry;

use std::{
    collections::{BTreeMap, BTreeSet, hash_map},
    ops::{Bound, Range},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::RwLock;

use self::entry::{ContentTypes, Entry};
use super::{
    Change, CommitError, Group, IdMap, Position, Refused, Storage, StorageError, Stored, StreamId, StreamRecord, Usage,
    Verdicts, WriterState, commit_as_one,
};
use crate::protocol::{Millis, StreamName};

/// The memory of a stream besides its name and bytes.
const STREAM_OVERHEAD: u64 = 160;

/// A [`Storage`] in memory. A restart loses everything.
#[derive(Debug)]
pub struct InMemoryStorage {
    state: RwLock<State>,
    max_bytes: u64,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<StreamName, StreamId>,
    streams: IdMap<Entry>,
    due: BTreeSet<(Millis, StreamName)>,
    types: ContentTypes,
    /// Trimmed streams whose bytes are still to be freed.
    trimmed: BTreeSet<StreamId>,
    /// The bytes of all streams.
    payload: u64,
    /// Names, records and writers, which count against the limit too.
    overhead: u64,
}

impl InMemoryStorage {
    /// An empty store that refuses to grow beyond `max_bytes`; 0 is no limit.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self {
            state: RwLock::default(),
            max_bytes,
            next_id: AtomicU64::new(1),
        }
    }

    fn write(&self, batch: &[Change]) -> Result<(), Refused> {
        let mut state = self.state.write();
        let growth = state.check(batch)?;
        if self.max_bytes > 0 && growth > 0 && state.used().saturating_add(growth) > self.max_bytes {
            let what = format!("memory holds {} of {} bytes", state.used(), self.max_bytes);
            return Err(CommitError::Full(what).into());
        }
        let mut dropped = Vec::new();
        for change in batch {
            dropped.extend(state.apply(change));
        }
        drop(state);
        // Outside the lock: a large stream takes a while to free.
        drop(dropped);
        Ok(())
    }
}

impl Storage for InMemoryStorage {
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        let state = self.state.read();
        Ok(state.names.get(name).and_then(|id| state.stored(*id)))
    }

    fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
        let state = self.state.read();
        let writers = state.streams.get(&id).into_iter().flat_map(Entry::writers);
        Ok(writers.map(|(key, state)| (key.to_owned(), state.clone())).collect())
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(StreamName, Stored)>, StorageError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let state = self.state.read();
        Ok(state
            .names
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.key().starts_with(prefix))
            .filter_map(|(name, id)| Some((name.clone(), state.stored(*id)?)))
            .take(limit)
            .collect())
    }

    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
        let state = self.state.read();
        Ok(state
            .due
            .iter()
            .take_while(|(at, _)| *at <= now)
            .take(limit)
            .map(|(_, name)| name.clone())
            .collect())
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        let state = self.state.read();
        Ok(state
            .streams
            .get(&id)
            .and_then(Entry::segments)
            .map_or_else(Bytes::new, |segments| segments.read(range)))
    }

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        commit_as_one(groups, |changes| self.write(changes))
    }

    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
        self.next_id.fetch_max(lowest, Ordering::Relaxed);
        Ok(self.next_id.fetch_add(count, Ordering::Relaxed))
    }

    fn maintain(&self) -> Result<bool, CommitError> {
        let mut state = self.state.write();
        let Some(id) = state.trimmed.pop_first() else {
            return Ok(false);
        };
        if let Some(entry) = state.streams.get_mut(&id) {
            entry.trim();
        }
        Ok(!state.trimmed.is_empty())
    }

    fn usage(&self) -> Usage {
        let state = self.state.read();
        Usage {
            streams: state.streams.len() as u64,
            bytes: state.payload,
        }
    }

    fn blocking(&self) -> bool {
        false
    }
}

impl State {
    fn stored(&self, id: StreamId) -> Option<Stored> {
        let entry = self.streams.get(&id)?;
        Some(Stored {
            record: entry.record(id, &self.types),
            tail: entry.tail(),
            rev: 0,
        })
    }

    fn used(&self) -> u64 {
        self.payload + self.overhead
    }

    /// Whether every step of a batch can be applied, and by how much it grows the store.
    fn check(&self, batch: &[Change]) -> Result<u64, Refused> {
        // Tails changed by the batch itself; `None`: removed.
        let mut tails: IdMap<Option<Position>> = IdMap::default();
        let (mut growth, mut shrinkage) = (0u64, 0u64);
        // Only a later append or put asks for a tail, so a lone append makes no map.
        let is_last = |index: usize| {
            let after = batch.get(index + 1..).unwrap_or_default();
            after.iter().all(|change| matches!(change, Change::Writer { .. }))
        };
        for (index, change) in batch.iter().enumerate() {
            match change {
                Change::Put { name, record } => {
                    if let Some(entry) = self.streams.get(&record.id) {
                        shrinkage += record.first().saturating_sub(entry.first()).min(entry.len());
                    } else if let hash_map::Entry::Vacant(tail) = tails.entry(record.id) {
                        tail.insert(Some(record.first()));
                        growth += stream_cost(name);
                    }
                }
                Change::Append { id, at, data } => {
                    let stored = || self.streams.get(id).map(Entry::tail);
                    let tail = tails.get(id).copied().unwrap_or_else(stored);
                    if tail != Some(*at) {
                        let tail = tail.unwrap_or(0);
                        return Err(Refused::TailMoved { id: *id, tail });
                    }
                    let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
                    growth += len;
                    if !is_last(index) {
                        tails.insert(*id, Some(at + len));
                    }
                }
                Change::Writer { id, key, state } => {
                    let known = self.streams.get(id).and_then(|entry| entry.writer(key));
                    growth += state.as_ref().map_or(0, |state| state.size(key));
                    shrinkage += known.map_or(0, |known| known.size(key));
                }
                Change::Remove { name, id } => {
                    if let Some(entry) = self.streams.get(id) {
                        shrinkage += entry.len() + stream_cost(name) + entry.writers_size();
                    }
                    tails.insert(*id, None);
                }
            }
        }
        Ok(growth.saturating_sub(shrinkage))
    }

    /// Applies one step of a batch that was checked. Returns what is left to be freed.
    fn apply(&mut self, change: &Change) -> Option<Entry> {
        match change {
            Change::Put { name, record } => self.put(name, record),
            Change::Append { id, data, .. } => {
                let entry = self.streams.get_mut(id)?;
                let before = entry.tail();
                let segments = entry.segments_mut();
                data.iter().for_each(|piece| segments.append(piece));
                self.payload += segments.tail() - before;
                None
            }
            Change::Writer { id, key, state } => {
                let entry = self.streams.get_mut(id)?;
                self.overhead += state.as_ref().map_or(0, |state| state.size(key));
                let before = entry.set_writer(key, state.clone());
                self.overhead -= before.map_or(0, |before| before.size(key));
                None
            }
            Change::Remove { name, id } => {
                if self.names.get(name) != Some(id) {
                    return None;
                }
                self.names.remove(name);
                self.forget(name, *id)
            }
        }
    }

    fn put(&mut self, name: &StreamName, record: &StreamRecord) -> Option<Entry> {
        // A stream keeps the spelling of its creation.
        let replaced = match self.names.get(name) {
            Some(old) if *old == record.id => None,
            _ => {
                let old = self.names.remove(name);
                self.names.insert(name.clone(), record.id);
                old.and_then(|old| self.forget(name, old))
            }
        };
        let before = if let Some(entry) = self.streams.get_mut(&record.id) {
            let (before, kept) = (entry.due_at(), entry.len());
            entry.replace(record, &mut self.types);
            if entry.len() < kept {
                self.payload -= kept - entry.len();
                self.trimmed.insert(record.id);
            }
            before
        } else {
            self.overhead += stream_cost(name);
            self.streams.insert(record.id, Entry::new(record, &mut self.types));
            None
        };
        let after = self.streams.get(&record.id).and_then(Entry::due_at);
        if before != after {
            if let Some(before) = before {
                self.due.remove(&(before, name.clone()));
            }
            if let Some(after) = after {
                self.due.insert((after, name.clone()));
            }
        }
        replaced
    }

    fn forget(&mut self, name: &StreamName, id: StreamId) -> Option<Entry> {
        let entry = self.streams.remove(&id)?;
        if let Some(due_at) = entry.due_at() {
            self.due.remove(&(due_at, name.clone()));
        }
        self.payload -= entry.len();
        self.overhead -= stream_cost(name) + entry.writers_size();
        Some(entry)
    }
}

fn stream_cost(name: &StreamName) -> u64 {
    STREAM_OVERHEAD + name.key().len() as u64
}

#[cfg(test)]
mod tests;
