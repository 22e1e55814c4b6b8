//! A store that keeps its data directory locked.

use super::{Storage, delegate_storage, lock::DirLock};

/// A store and the lock on its directory.
///
/// Reads may outlive the engine, and a store writes when it is dropped. Releasing the lock any
/// earlier would give the next holder a directory that is still being written to.
pub(crate) struct LockedStorage {
    // The order of the fields matters: the store is dropped before the lock.
    storage: Box<dyn Storage>,
    _lock: DirLock,
}

impl LockedStorage {
    pub(crate) fn new(storage: Box<dyn Storage>, lock: DirLock) -> Self {
        Self { storage, _lock: lock }
    }
}

impl Storage for LockedStorage {
    delegate_storage!(storage);
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
}
