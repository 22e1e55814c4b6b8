//! The writers of the streams that are written to right now.

use super::{Evicted, Writers};
use crate::{
    protocol::Millis,
    storage::{IdMap, Storage, StorageError, StreamId, WriterState},
};

/// The memory limit of all tables. An evicted table is read again when it is needed.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The memory limit after an eviction, so that not every batch evicts.
const LOW_BYTES: u64 = MAX_BYTES / 4 * 3;
/// The memory of a table without its writers.
const TABLE_BYTES: u64 = 256;
/// How long a table is kept after its last use.
const IDLE_MILLIS: Millis = 10_000;

#[derive(Default)]
pub(in crate::engine) struct WriterTables {
    tables: IdMap<Table>,
    bytes: u64,
    swept_at: Millis,
}

struct Table {
    writers: Writers,
    used_at: Millis,
}

impl Table {
    fn bytes(&self) -> u64 {
        TABLE_BYTES + self.writers.size()
    }
}

impl WriterTables {
    /// The writers of a stream, read from the store unless they are here.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(in crate::engine) fn load(
        &mut self,
        id: StreamId,
        storage: &dyn Storage,
        now: Millis,
    ) -> Result<&Writers, StorageError> {
        if !self.tables.contains_key(&id) {
            let writers = Writers::of(storage.writers(id)?);
            let table = Table { writers, used_at: now };
            self.bytes += table.bytes();
            self.tables.insert(id, table);
        }
        let table = self.table(id);
        table.used_at = now;
        Ok(&table.writers)
    }

    /// Notes where a writer of a loaded stream stands; see [`Writers::set`].
    pub(in crate::engine) fn set(&mut self, id: StreamId, key: &str, state: WriterState, limit: usize) -> Vec<Evicted> {
        self.change(id, |writers| writers.set(key, state, limit))
    }

    /// Evicts the writers of a loaded stream that were unused since `before`; returns them.
    pub(in crate::engine) fn evict_unused(&mut self, id: StreamId, before: Millis) -> Vec<Evicted> {
        self.change(id, |writers| writers.evict_unused(before))
    }

    /// Drops a stream's table, because the stream is gone or its stored writers may differ.
    pub(in crate::engine) fn drop_table(&mut self, id: StreamId) {
        if let Some(table) = self.tables.remove(&id) {
            self.bytes -= table.bytes();
        }
    }

    /// Drops idle tables, and the least recently used above the memory limit. Called between
    /// batches.
    pub(in crate::engine) fn trim(&mut self, now: Millis) {
        if self.swept_at + IDLE_MILLIS <= now {
            self.swept_at = now;
            self.drop_unused(now.saturating_sub(IDLE_MILLIS), 0);
            self.tables.shrink_to(0);
        }
        if self.bytes > MAX_BYTES {
            self.drop_unused(Millis::MAX, LOW_BYTES);
        }
    }

    /// Drops tables unused since `before`, longest unused first, down to `bytes`.
    fn drop_unused(&mut self, before: Millis, bytes: u64) {
        let tables = self.tables.iter().map(|(id, table)| (table.used_at, *id));
        let mut unused: Vec<(Millis, StreamId)> = tables.filter(|(used_at, _)| *used_at < before).collect();
        unused.sort_unstable();
        for (_, id) in unused {
            if self.bytes <= bytes {
                return;
            }
            self.drop_table(id);
        }
    }

    fn change<T>(&mut self, id: StreamId, change: impl FnOnce(&mut Writers) -> T) -> T {
        let table = self.table(id);
        let before = table.bytes();
        let done = change(&mut table.writers);
        let after = table.bytes();
        self.bytes = self.bytes - before + after;
        done
    }

    fn table(&mut self, id: StreamId) -> &mut Table {
        self.tables.entry(id).or_insert_with(|| {
            self.bytes += TABLE_BYTES;
            Table {
                writers: Writers::default(),
                used_at: 0,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{
        ProducerState, Progress,
        contract::{CommitChanges, producer, put, record},
        memory::InMemoryStorage,
    };

    fn state(used_at: Millis) -> WriterState {
        WriterState {
            progress: Progress::Producer(ProducerState { epoch: 0, seq: 0 }),
            used_at,
        }
    }

    #[test]
    fn tables_are_dropped_when_unused_or_too_large_and_read_again() {
        let store = InMemoryStorage::new(0);
        let stored = ProducerState { epoch: 3, seq: 9 };
        store
            .commit_changes(&[put("a", record(1)), producer(1, "p", stored, 5)])
            .unwrap();
        let mut tables = WriterTables::default();
        assert_eq!(
            tables.load(1, &store, 100).unwrap().progress("p"),
            Some(&Progress::Producer(stored))
        );
        tables.set(1, "q", state(100), 10);
        tables.trim(IDLE_MILLIS);
        assert_eq!(tables.load(1, &store, 200).unwrap().known.len(), 2);
        tables.trim(201 + 2 * IDLE_MILLIS);
        assert_eq!((tables.tables.len(), tables.bytes), (0, 0));

        let now = 3 * IDLE_MILLIS;
        for id in 0..10_000 {
            tables.load(id, &store, now + id).unwrap();
            for n in 0..20 {
                tables.set(id, &format!("producer {n}"), state(now), 1000);
            }
            tables.trim(now + id);
            assert!(tables.bytes <= MAX_BYTES);
        }
        assert!(tables.bytes > LOW_BYTES / 2, "{}", tables.bytes);
        assert!(tables.tables.contains_key(&9_999) && !tables.tables.contains_key(&0));
        let held: u64 = tables.tables.values().map(Table::bytes).sum();
        assert_eq!(tables.bytes, held);
        assert_eq!(tables.load(1, &store, now).unwrap().known.len(), 1);
    }
}
