//! The index: a redb database of everything that the last checkpoint wrote.

mod backend;
mod read;
mod reclaim;
pub(super) mod schema;
mod spelling;
#[cfg(test)]
pub(crate) mod testing;
mod totals;
mod upgrade;
mod write;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use redb::{Builder, Database};

use self::{
    backend::{Backend, Unsynced},
    schema::{DATA, DUE, FILES, FORMAT, GARBAGE, HOLES, META, META_FORMAT, NAMES, TRIMMED, WRITERS, storage_error},
    totals::{Header, read_header},
};
pub(super) use self::{
    read::{Extent, Snapshot},
    reclaim::reclaim,
    spelling::{candidate_names, warn_renamed},
    totals::Totals,
    write::{Checkpoint, checkpoint},
};
use super::{StorageError, disk::Disk};

/// The index's file.
pub(crate) const FILE_NAME: &str = "index.redb";

/// The index's file until it is initialized.
const NEW_FILE_NAME: &str = "index.new";

const OPENING: &str = "opening the index";
const CHECKING: &str = "checking the index";

/// Opens the index of a directory.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) cache_bytes: usize,
    pub(super) unsynced: Unsynced,
}

impl Index {
    /// Opens the index or creates an empty one. Its cost does not depend on the number of streams:
    /// every transaction saves the state of redb's allocator (see [`write`]), so there is no repair.
    pub(super) fn open(&self) -> Result<(Database, Totals), StorageError> {
        let (db, header) = catch_redb_panic(OPENING, || {
            let opened = self.open_database().and_then(|db| {
                let mut header = read_header(&db)?;
                if let Header::OtherFormat(1 | 2) = header {
                    upgrade::upgrade(&db)?;
                    header = read_header(&db)?;
                }
                if let Header::Current(_) = header {
                    spelling::canonicalize_names(&db)?;
                }
                Ok((db, header))
            });
            opened.map_err(|error| storage_error(OPENING, error))
        })?;
        match header {
            Header::Current(totals) => Ok((db, totals)),
            Header::OtherFormat(found) if found > FORMAT => Err(StorageError::NewerFormat {
                found,
                supported: FORMAT,
            }),
            Header::OtherFormat(found) => Err(StorageError::Corrupt(format!(
                "the index has the unknown format {found}"
            ))),
        }
    }

    fn open_database(&self) -> Result<Database, redb::Error> {
        if !self.disk.exists(FILE_NAME)? {
            // A crash during initialization leaves only a file of another name.
            self.disk.remove(NEW_FILE_NAME)?;
            let db = self.database(NEW_FILE_NAME)?;
            initialize(&db)?;
            drop(db);
            self.disk.rename(NEW_FILE_NAME, FILE_NAME)?;
            self.disk.sync_dir("")?;
        }
        self.database(FILE_NAME)
    }

    fn database(&self, path: &str) -> Result<Database, redb::Error> {
        let backend = Backend::new(self.disk.open(path)?, Arc::clone(&self.unsynced))?;
        Ok(Builder::new()
            .set_cache_size(self.cache_bytes)
            .create_with_backend(backend)?)
    }
}

/// Whether every page of the index matches its checksum. Reads all of it and repairs what it can.
pub(crate) fn verify(disk: Arc<dyn Disk>, cache_bytes: usize) -> Result<bool, StorageError> {
    let index = Index {
        disk,
        cache_bytes,
        unsynced: Arc::default(),
    };
    let (mut db, _) = index.open()?;
    catch_redb_panic(CHECKING, || {
        db.check_integrity()
            .map_err(|error| storage_error(CHECKING, error.into()))
    })
}

/// Runs `read`. redb can panic on a corrupt file.
pub(crate) fn catch_redb_panic<T>(
    context: &str,
    read: impl FnOnce() -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    catch_unwind(AssertUnwindSafe(read))
        .map_err(|_| StorageError::Corrupt(format!("{context}: the index is corrupt")))?
}

/// Creates the tables, so that readers can rely on them.
fn initialize(db: &Database) -> Result<(), redb::Error> {
    let txn = schema::begin_write(db)?;
    {
        txn.open_table(META)?.insert(META_FORMAT, FORMAT)?;
        txn.open_table(NAMES)?;
        txn.open_table(DATA)?;
        txn.open_table(FILES)?;
        txn.open_table(WRITERS)?;
        txn.open_table(DUE)?;
        txn.open_table(GARBAGE)?;
        txn.open_table(TRIMMED)?;
        txn.open_table(HOLES)?;
    }
    txn.commit()?;
    spelling::canonicalize_names(db)
}
