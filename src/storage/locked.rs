//! A store that keeps its data directory locked, until it is handed over.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use parking_lot::RwLock;

use super::{
    CommitError, CopyProgress, Group, Position, Storage, StorageError, StoreReport, Stored, StreamId, Usage, Verdicts,
    WriterState, lock::DirLock, successor,
};
use crate::protocol::{Millis, StreamName};

/// A store and the lock on its directory.
///
/// Reads may outlive the engine, and a store writes when it is dropped. Releasing the lock any
/// earlier would give the next holder a directory that is still being written to.
pub(crate) struct LockedStorage {
    state: RwLock<State>,
}

enum State {
    Held(Held),
    /// The next holder of this directory reads for those who are still reading here.
    Released {
        dir: PathBuf,
        usage: Usage,
    },
}

struct Held {
    // The order of the fields matters: the store is dropped before the lock.
    storage: Box<dyn Storage>,
    lock: DirLock,
}

impl LockedStorage {
    pub(crate) fn new(storage: Box<dyn Storage>, lock: DirLock) -> Self {
        Self {
            state: RwLock::new(State::Held(Held { storage, lock })),
        }
    }

    /// Closes the store and unlocks the directory, although there are still readers. Reads that have
    /// begun come first.
    pub(crate) fn release(&self) {
        let mut state = self.state.write();
        if let State::Held(held) = &*state {
            let released = State::Released {
                dir: held.lock.dir().to_owned(),
                usage: held.storage.usage(),
            };
            *state = released;
        }
    }

    fn held<T, E: From<StorageError>>(&self, work: impl FnOnce(&dyn Storage) -> Result<T, E>) -> Result<T, E> {
        match &*self.state.read() {
            State::Held(held) => work(&*held.storage),
            State::Released { .. } => Err(handed_over().into()),
        }
    }

    /// The directory, once another server holds it.
    fn released(&self) -> Option<PathBuf> {
        match &*self.state.read() {
            State::Held(_) => None,
            State::Released { dir, .. } => Some(dir.clone()),
        }
    }
}

fn handed_over() -> StorageError {
    StorageError::Unsupported("the data directory was handed over to another server")
}

impl Storage for LockedStorage {
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        self.held(|storage| storage.get(name))
    }

    fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
        self.held(|storage| storage.writers(id))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(StreamName, Stored)>, StorageError> {
        self.held(|storage| storage.list(prefix, after, limit))
    }

    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
        match &*self.state.read() {
            State::Held(held) => held.storage.due(now, limit),
            State::Released { .. } => Ok(Vec::new()),
        }
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        // Not under the lock, because the next holder may take its time.
        let dir = match &*self.state.read() {
            State::Held(held) => return held.storage.read(id, range),
            State::Released { dir, .. } => dir.clone(),
        };
        successor::read(&dir, id, range)
    }

    fn is_current(&self, name: &StreamName, id: StreamId, from: Position) -> Result<bool, StorageError> {
        match self.released() {
            None => Ok(true),
            Some(dir) => successor::is_current(&dir, name, id, from),
        }
    }

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        self.held(|storage| storage.commit(groups))
    }

    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
        self.held(|storage| storage.reserve_ids(count, lowest))
    }

    fn maintain(&self) -> Result<bool, CommitError> {
        self.held(Storage::maintain)
    }

    fn needs_maintenance(&self) -> bool {
        match &*self.state.read() {
            State::Held(held) => held.storage.needs_maintenance(),
            State::Released { .. } => false,
        }
    }

    fn usage(&self) -> Usage {
        match &*self.state.read() {
            State::Held(held) => held.storage.usage(),
            State::Released { usage, .. } => *usage,
        }
    }

    fn backup(&self, target: &Path, progress: &mut CopyProgress<'_>) -> Result<StoreReport, StorageError> {
        self.held(|storage| storage.backup(target, progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        storage::{AcidStorage, lock},
    };

    #[test]
    fn the_directory_is_locked_until_the_last_reader_is_gone() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let lock = lock::acquire(dir.path(), &clock).unwrap();
        let storage = AcidStorage::open(dir.path(), 1024 * 1024).unwrap();
        let store = std::sync::Arc::new(LockedStorage::new(Box::new(storage), lock));
        let reader = std::sync::Arc::clone(&store);
        drop(store);
        assert!(lock::acquire(dir.path(), &clock).is_err());
        drop(reader);
        assert!(lock::acquire(dir.path(), &clock).is_ok());
    }

    #[test]
    fn a_released_directory_is_free_although_there_are_readers() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), Clock::system());
        let lock = lock::acquire(dir.path(), &clock).unwrap();
        let storage = AcidStorage::open(dir.path(), 1024 * 1024).unwrap();
        let store = LockedStorage::new(Box::new(storage), lock);
        store.release();
        let _next = lock::acquire(dir.path(), &clock).unwrap();
        AcidStorage::open(dir.path(), 1024 * 1024).unwrap();
        assert!(store.reserve_ids(1, StreamId::default()).is_err());
    }
}
