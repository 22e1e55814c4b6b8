//! `acid`: streams in a transactional index, behind a journal. Acknowledged means on disk.

use std::{ops::Range, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    CommitError, Group, Position, Storage, StorageError, Stored, StreamId, Usage, Verdicts, WriterState, commit_as_one,
    journaled::{JournaledStore, Options, delegate_storage, disk::Directory},
    tools,
};
use crate::{config::StorageMode, protocol::Millis, protocol::StreamName};

/// A [`Storage`] in redb.
#[derive(Debug)]
pub struct AcidStorage(JournaledStore);

impl AcidStorage {
    /// Opens the store in `dir`, or makes an empty one. Keeps up to `cache_bytes` of the index
    /// in memory.
    ///
    /// # Errors
    /// When the directory cannot be used, the store is damaged, or a newer version wrote it.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        let disk = Directory::create(dir)?;
        let options = Options::acid(usize::try_from(cache_bytes).unwrap_or(usize::MAX));
        JournaledStore::open(Arc::new(disk), options).map(Self)
    }
}

delegate_storage!(AcidStorage, StorageMode::Acid);

#[cfg(test)]
mod tests;
