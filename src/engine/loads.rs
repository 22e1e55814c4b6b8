//! The store as a batch reads it while it is judged. The reads are serial, and all writes wait for them.

use std::{collections::HashSet, ops::Range, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{
    protocol::StreamName,
    storage::{CommitError, Position, Storage, StorageError, Stored, StreamId, WriterState, delegate_storage},
};

/// A store that is not asked again once it was away. Each call of one that hangs takes seconds to fail.
pub(super) struct Loads {
    store: Arc<dyn Storage>,
    away: Mutex<Option<String>>,
    /// Names of which the store was found to have no stream.
    absent: Mutex<HashSet<StreamName>>,
}

impl Loads {
    pub(super) fn new(store: Arc<dyn Storage>) -> Self {
        Self {
            store,
            away: Mutex::default(),
            absent: Mutex::default(),
        }
    }

    /// The store may be back.
    pub(super) fn ask_again(&mut self) {
        *self.away.get_mut() = None;
    }

    /// Notes which names have no stream, as far as the present attempt is concerned.
    pub(super) fn set_absent(&mut self, names: HashSet<StreamName>) {
        *self.absent.get_mut() = names;
    }

    /// Asks the store, unless it was away.
    pub(super) fn ask<T>(&self, load: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
        if let Some(what) = &*self.away.lock() {
            return Err(StorageError::Away(what.clone()));
        }
        let loaded = load();
        if let Err(StorageError::Away(what)) = &loaded {
            *self.away.lock() = Some(what.clone());
        }
        loaded
    }
}

impl Storage for Loads {
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        if self.absent.lock().contains(name) {
            return Ok(None);
        }
        self.ask(|| self.store.get(name))
    }

    fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
        self.ask(|| self.store.writers(id))
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        self.ask(|| self.store.read(id, range))
    }

    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
        let reserved = self.ask(|| match self.store.reserve_ids(count, lowest) {
            Err(CommitError::Storage(error)) => Err(error),
            reserved => Ok(reserved),
        });
        reserved?
    }

    delegate_storage!(store: list, due, commit, maintain, usage, blocking, shared, backup);
}
