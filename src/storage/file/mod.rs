//! `file-fast` and `file-durable`: a journal for all streams, and behind it a data file for
//! each stream that has grown large.

use std::{ops::Range, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    CommitError, Group, Position, Storage, StorageError, Stored, StreamId, Usage, Verdicts, WriterState, commit_as_one,
    journaled::{JournaledStore, Options, delegate_storage, disk::Directory},
    tools,
};
use crate::{config::StorageMode, protocol::Millis, protocol::StreamName};

/// A [`Storage`] in files.
#[derive(Debug)]
pub struct FileStorage(JournaledStore);

impl FileStorage {
    /// Opens the store in `dir`, or makes an empty one, with up to `max_open_files` data files
    /// open. With `sync` a batch is on disk before it is acknowledged (`file-durable`); without,
    /// it is with the operating system (`file-fast`).
    ///
    /// # Errors
    /// When the directory cannot be used, the store is damaged, or a newer version wrote it.
    pub fn open(dir: &Path, sync: bool, max_open_files: usize) -> Result<Self, StorageError> {
        let disk = Directory::create(dir)?;
        let options = Options::file(sync, max_open_files);
        JournaledStore::open(Arc::new(disk), options).map(Self)
    }
}

delegate_storage!(FileStorage, StorageMode::FileDurable);

#[cfg(test)]
mod tests;
