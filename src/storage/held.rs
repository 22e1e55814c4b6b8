use std::{ops::Range, path::Path};

use bytes::Bytes;

use super::{
    CommitError, Group, Position, Storage, StorageError, Stored, StreamId, Usage, Verdicts, WriterState, lock::DirLock,
    tools,
};
use crate::{protocol::Millis, protocol::StreamName};

/// A store that holds its directory for as long as anybody holds the store.
///
/// Reads under way may outlive the engine's stop, and stores write when they are dropped: who
/// lets go of the directory before that hands a file that is still written to the next holder.
pub(crate) struct Held {
    // Dropped in this order.
    storage: Box<dyn Storage>,
    _lock: DirLock,
}

impl Held {
    pub(crate) fn new(storage: Box<dyn Storage>, lock: DirLock) -> Self {
        Self { storage, _lock: lock }
    }
}

impl Storage for Held {
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        self.storage.get(name)
    }

    fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
        self.storage.writers(id)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(StreamName, Stored)>, StorageError> {
        self.storage.list(prefix, after, limit)
    }

    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
        self.storage.due(now, limit)
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        self.storage.read(id, range)
    }

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        self.storage.commit(groups)
    }

    fn is_shared(&self) -> bool {
        self.storage.is_shared()
    }

    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
        self.storage.reserve_ids(count, lowest)
    }

    fn maintain(&self) -> Result<bool, CommitError> {
        self.storage.maintain()
    }

    fn usage(&self) -> Usage {
        self.storage.usage()
    }

    fn blocking(&self) -> bool {
        self.storage.blocking()
    }

    fn backup(&self, target: &Path, progress: &mut tools::Progress<'_>) -> Result<tools::Report, StorageError> {
        self.storage.backup(target, progress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{acid::AcidStorage, lock};

    #[test]
    fn the_directory_is_held_until_the_last_reader_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock::acquire(dir.path()).unwrap();
        let storage = AcidStorage::open(dir.path(), 1024 * 1024).unwrap();
        let store = std::sync::Arc::new(Held::new(Box::new(storage), held));
        let reader = std::sync::Arc::clone(&store);
        drop(store);
        assert!(lock::acquire(dir.path()).is_err());
        drop(reader);
        assert!(lock::acquire(dir.path()).is_ok());
    }
}
