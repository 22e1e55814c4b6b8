//! The store that keeps its streams on disk.
//!
//! A batch is appended to the journal (one write, one sync) and applied to a table in memory, and
//! is acknowledged then. A checkpoint freezes a table that has grown and writes it to the index, a
//! redb database, and the bytes of large streams to their data files; meanwhile batches go to a new
//! table and to the journal's other file. A start replays the journal. So a commit costs by the byte
//! and waits for no checkpoint, and the index is written in large transactions. `docs/storage.md`
//! describes the format.

mod checkpoint;
pub(super) mod copy;
mod inspect;
mod legacy_names;
mod pinned;
mod read;
mod reopen;
mod salvage;
mod view;
mod write;

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use redb::Database;

use self::view::View;
use super::{
    StorageError, Usage,
    data_files::DataFiles,
    disk::Disk,
    index::{Index, Snapshot, Totals, schema::storage_error},
    journal::Journal,
};
use crate::{clock::Clock, random::Random};

/// In the file modes, the size at which a stream gets a data file. For a smaller stream, the block
/// and the name of a file would be most of its cost.
const MIN_DATA_FILE: u64 = 64 * 1024;

/// The cache of the index in the file modes, where it holds no bytes of large streams.
const FILE_INDEX_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// The place of the bytes of large streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// In the index.
    Index,
    /// In data files, one for each large stream.
    DataFiles,
}

/// The behaviour of a store.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Whether a batch is on disk when it is acknowledged.
    pub(crate) sync: bool,
    /// The size at which a stream gets a data file; `None`: never.
    pub(crate) min_data_file: Option<u64>,
    pub(crate) max_open_files: usize,
    /// The cache of the index.
    pub(crate) cache_bytes: usize,
    /// The size of the table in memory at which a checkpoint is due.
    pub(crate) checkpoint_bytes: u64,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sync: true,
            min_data_file: None,
            max_open_files: 64,
            cache_bytes: 64 * 1024 * 1024,
            checkpoint_bytes: 4 * 1024 * 1024,
            clock: Clock::system(),
            random: Random::system(),
        }
    }
}

impl Options {
    /// For `acid`: everything is in the index.
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
            min_data_file: Some(MIN_DATA_FILE),
            max_open_files,
            cache_bytes: FILE_INDEX_CACHE_BYTES,
            ..Self::default()
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        match self.min_data_file {
            None => Layout::Index,
            Some(_) => Layout::DataFiles,
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
    /// The state that readers see.
    view: RwLock<View>,
    /// Locked by everyone who writes to the index or replaces it. Locked before `writer`.
    indexer: Mutex<Indexer>,
    /// Locked by everyone who writes to the journal or changes the tables. Locked before `view`.
    writer: Mutex<Writer>,
}

#[derive(Debug)]
struct Indexer {
    /// `None` after an I/O error until it is reopened: redb refuses to continue.
    db: Option<Database>,
    /// The totals of the index, as of its last known transaction.
    totals: Totals,
    /// The number of copies under way, which suspend reclaiming.
    copies: usize,
    /// The store is dropped without a final checkpoint.
    discarded: bool,
}

#[derive(Debug)]
struct Writer {
    journal: Journal,
    next_id: u64,
    /// Bytes reclaimed since the disk last had space: what still fits into the index's own free
    /// pages while the disk is full.
    credit: u64,
    /// After a failed checkpoint, the size of the table at which a batch tries again.
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
        let salts = std::array::from_fn(|_| options.random.between(1, u64::MAX));
        let (journal, unapplied) = Journal::open(&*disk, options.sync, totals.applied, salts)?;
        let snapshot = Snapshot::take(&db).map_err(|error| storage_error("reading the index", error))?;
        let mut view = View::new(snapshot, &totals, 0);
        let next_id = view.replay(&unapplied)?.max(totals.next_id);
        // The replayed appends have used part of the saved credit.
        let credit = totals.credit.saturating_sub(2 * view.mem.cost());
        Ok(Self {
            files: DataFiles::new(Arc::clone(&disk), options.max_open_files),
            disk,
            options,
            index,
            view: RwLock::new(view),
            indexer: Mutex::new(Indexer {
                db: Some(db),
                totals,
                copies: 0,
                discarded: false,
            }),
            writer: Mutex::new(Writer {
                journal,
                next_id,
                credit,
                retry_at: 0,
            }),
        })
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn usage(&self) -> Usage {
        self.view.read().usage
    }
}

impl Drop for JournaledStore {
    fn drop(&mut self) {
        let mut indexer = self.indexer.lock();
        if indexer.discarded {
            return;
        }
        // Spares the next start the replay. If it fails, the journal still has everything.
        if let Err(error) = self.checkpoint(&mut indexer) {
            tracing::warn!(%error, "the final checkpoint failed; the next start replays the journal");
        }
    }
}

#[cfg(test)]
mod tests;
