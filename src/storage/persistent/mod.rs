//! The stores that keep their streams on disk: two configurations of one journaled store.

use std::{path::Path, sync::Arc};

use super::{
    CommitError, CopyProgress, Group, Storage, StorageError, StoreReport, Verdicts, commit_as_one, delegate_storage,
    disk::Directory,
    journaled::{JournaledStore, Options},
    tools,
};

/// The modes `file-durable` and `file-fast`: large streams have data files of their own.
#[derive(Debug)]
pub struct FileStorage(JournaledStore);

impl FileStorage {
    /// Opens the store in `dir` or creates an empty one, with at most `max_open_files` data files
    /// open at a time.
    ///
    /// With `sync` a batch is acknowledged when it is on disk (`file-durable`); without, when the
    /// operating system has it (`file-fast`), so a power loss may lose the last moments.
    ///
    /// # Errors
    /// If the directory cannot be used, the store is damaged, or a newer version wrote it.
    pub fn open(dir: &Path, sync: bool, max_open_files: usize) -> Result<Self, StorageError> {
        open(dir, Options::file(sync, max_open_files)).map(Self)
    }
}

/// The mode `acid`: all streams in a transactional index. A batch is acknowledged when it is on
/// disk.
#[derive(Debug)]
pub struct AcidStorage(JournaledStore);

impl AcidStorage {
    /// Opens the store in `dir` or creates an empty one, with up to `cache_bytes` of the index in
    /// memory.
    ///
    /// # Errors
    /// If the directory cannot be used, the store is damaged, or a newer version wrote it.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        let cache_bytes = usize::try_from(cache_bytes).unwrap_or(usize::MAX);
        open(dir, Options::acid(cache_bytes)).map(Self)
    }
}

fn open(dir: &Path, options: Options) -> Result<JournaledStore, StorageError> {
    JournaledStore::open(Arc::new(Directory::create(dir)?), options)
}

impl Storage for FileStorage {
    delegate_storage!(0: get, writers, list, due, read, reserve_ids, maintain, needs_maintenance, usage);

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        commit_as_one(groups, |changes| self.0.commit(changes))
    }

    fn backup(&self, target: &Path, progress: &mut CopyProgress<'_>) -> Result<StoreReport, StorageError> {
        tools::backup(&self.0, target, progress)
    }
}

impl Storage for AcidStorage {
    delegate_storage!(0: get, writers, list, due, read, reserve_ids, maintain, needs_maintenance, usage);

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        commit_as_one(groups, |changes| self.0.commit(changes))
    }

    fn backup(&self, target: &Path, progress: &mut CopyProgress<'_>) -> Result<StoreReport, StorageError> {
        tools::backup(&self.0, target, progress)
    }
}

#[cfg(test)]
mod tests;
