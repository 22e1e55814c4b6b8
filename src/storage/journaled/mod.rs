//! The core of the stores that keep their streams on disk.
//!
//! A batch goes to the journal, one write and one sync, and into a table in memory; it is
//! acknowledged then. When the table has grown, a checkpoint brings it to the index, a redb
//! database, and the bytes of large streams to their data files, if the mode has any; then
//! the journal begins anew. A start reads the journal into the table again. So a commit costs
//! what its bytes cost, and the index is written in large pieces, each of them a transaction.
//!
//! `docs/storage.md` has the format.

pub(crate) mod base;
pub(crate) mod copy;
pub(crate) mod disk;
mod earlier;
mod entry;
mod files;
mod former;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod journal;
mod memtable;
mod read;
mod view;
mod write;

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use redb::Database;

use self::{
    base::{Index, Snapshot, Totals},
    disk::Disk,
    files::DataFiles,
    journal::Journal,
    view::View,
};
use super::{StorageError, Usage};
use crate::clock;

/// In the file modes a stream has a file of its own from here on. Below, the file's block and
/// name on disk would be most of what it costs.
const FILE_FROM: u64 = 64 * 1024;

/// Memory for the index in the file modes, where it has no bytes of large streams.
const FILE_INDEX_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// How a store behaves.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Whether a batch is on disk when it is acknowledged.
    pub(crate) sync: bool,
    /// From how many bytes on a stream gets a data file.
    pub(crate) spill: Option<u64>,
    /// How many data files may be open.
    pub(crate) max_open_files: usize,
    /// Memory for recently used parts of the index.
    pub(crate) cache_bytes: usize,
    /// How much the table in memory may hold before a checkpoint.
    pub(crate) checkpoint_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync: true,
            spill: None,
            max_open_files: 64,
            cache_bytes: 64 * 1024 * 1024,
            checkpoint_bytes: 4 * 1024 * 1024,
        }
    }
}

impl Options {
    /// For `acid`: everything in the index.
    pub(crate) fn acid(cache_bytes: usize) -> Self {
        Self {
            cache_bytes,
            ..Self::default()
        }
    }

    /// For `file-durable`, or without `sync` for `file-fast`.
    pub(crate) fn file(sync: bool, max_open_files: usize) -> Self {
        Self {
            sync,
            spill: Some(FILE_FROM),
            max_open_files,
            cache_bytes: FILE_INDEX_CACHE_BYTES,
            ..Self::default()
        }
    }
}

/// A store with a journal, an index and data files.
#[derive(Debug)]
pub(crate) struct JournaledStore {
    disk: Arc<dyn Disk>,
    options: Options,
    index: Index,
    files: DataFiles,
    /// What readers see.
    view: RwLock<View>,
    /// Held by whoever writes, and changes the view.
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Writer {
    /// `None` after an I/O error, until it can be opened again: redb refuses to go on.
    db: Option<Database>,
    journal: Journal,
    /// The last journal record that is known to be in the index.
    applied: u64,
    next_id: u64,
    /// Whether anything in the index waits to be cleared away.
    garbage: bool,
    /// Bytes given back since the disk was last seen to have room: what can still be written
    /// to the index's own free pages when the disk has none.
    credit: u64,
    /// How many copies of the store are being made. Meanwhile nothing is cleared away.
    copies: usize,
    /// After a failed checkpoint: how large the table must be for the next attempt.
    retry_at: u64,
}

impl JournaledStore {
    pub(crate) fn open(disk: Arc<dyn Disk>, options: Options) -> Result<Self, StorageError> {
        let index = Index {
            disk: Arc::clone(&disk),
            cache_bytes: options.cache_bytes,
            unsynced: Arc::default(),
        };
        let (db, totals) = index.open()?;
        let salt = clock::random_between(1, u64::MAX);
        let (journal, recovered) = Journal::open(&*disk, options.sync, totals.applied, salt)?;
        let snapshot = Snapshot::take(&db).map_err(|error| base::schema::storage_error("reading the index", error))?;
        let mut view = View::new(snapshot, &totals, 0);
        let next_id = view.replay(&recovered)?.max(totals.next_id);
        // What was appended since has used it.
        let credit = totals.credit.saturating_sub(2 * view.mem.cost());
        Ok(Self {
            files: DataFiles::new(Arc::clone(&disk), options.max_open_files),
            disk,
            options,
            index,
            view: RwLock::new(view),
            writer: Mutex::new(Writer {
                db: Some(db),
                journal,
                applied: totals.applied,
                next_id,
                garbage: totals.garbage,
                credit,
                copies: 0,
                retry_at: 0,
            }),
        })
    }

    pub(crate) fn usage(&self) -> Usage {
        self.view.read().usage
    }

    fn totals(&self, writer: &Writer) -> Totals {
        let usage = self.usage();
        Totals {
            applied: writer.journal.last_seq(),
            next_id: writer.next_id,
            streams: usage.streams,
            bytes: usage.bytes,
            credit: writer.credit,
            garbage: writer.garbage,
        }
    }
}

impl Drop for JournaledStore {
    fn drop(&mut self) {
        // So that the next start has nothing to read again; if it fails, it has.
        if let Err(error) = self.checkpoint(&mut self.writer.lock()) {
            tracing::warn!(%error, "the last checkpoint failed, the journal still has everything");
        }
    }
}

/// Makes a store out of a struct around a [`JournaledStore`].
macro_rules! delegate_storage {
    ($store:ty, $mode:expr) => {
        impl Storage for $store {
            fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
                self.0.get(name)
            }

            fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
                self.0.writers(id)
            }

            fn list(
                &self,
                prefix: &str,
                after: Option<&str>,
                limit: usize,
            ) -> Result<Vec<(StreamName, Stored)>, StorageError> {
                self.0.list(prefix, after, limit)
            }

            fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
                self.0.due(now, limit)
            }

            fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
                self.0.read(id, range)
            }

            fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
                commit_as_one(groups, |changes| self.0.commit(changes))
            }

            fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
                self.0.reserve_ids(count, lowest)
            }

            fn maintain(&self) -> Result<bool, CommitError> {
                self.0.maintain()
            }

            fn usage(&self) -> Usage {
                self.0.usage()
            }

            fn backup(&self, target: &Path, progress: &mut tools::Progress<'_>) -> Result<tools::Report, StorageError> {
                tools::backup(&self.0, target, $mode, progress)
            }
        }
    };
}
pub(crate) use delegate_storage;

#[cfg(test)]
mod tests;
