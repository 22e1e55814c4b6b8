//! The index: everything that the journal no longer has to hold, in a redb database.

mod backend;
mod read;
mod reclaim;
pub(super) mod schema;
mod spelling;
mod write;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use self::{
    backend::{Backend, Unsynced},
    schema::{
        DATA, DUE, DataRead, DueRead, FILES, FORMAT, FilesRead, GARBAGE, GarbageRead, HOLES, HolesRead, META,
        META_APPLIED, META_BYTES, META_CREDIT, META_FORMAT, META_NEXT_ID, NAMES, NamesRead, PRODUCERS, TRIMMED,
        WRITERS, WritersRead, encode_writer, storage_error,
    },
};
pub(super) use self::{
    read::{Run, Snapshot},
    reclaim::reclaim,
    write::{Checkpoint, checkpoint},
};
use super::disk::Disk;
use crate::storage::{ProducerState, Progress, StorageError, WriterState};

/// The index's file.
pub(crate) const FILE_NAME: &str = "index.redb";

/// The index's file until it is complete.
const NEW_FILE_NAME: &str = "index.new";

/// What the index says about the whole store.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    /// The last journal record that is in it.
    pub(super) applied: u64,
    pub(super) next_id: u64,
    pub(super) streams: u64,
    pub(super) bytes: u64,
    /// How much of the index's file is free for what the disk itself has no room for.
    pub(super) credit: u64,
    /// Whether anything waits for [`reclaim`].
    pub(super) garbage: bool,
}

/// Where the index lies, and how it is opened.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) cache_bytes: usize,
    pub(super) unsynced: Unsynced,
}

impl Index {
    /// Opens the index or makes an empty one. Looks at no stream, and repairs nothing large:
    /// whatever writes to it leaves its allocator's state behind (see [`write`]).
    pub(super) fn open(&self) -> Result<(Database, Totals), StorageError> {
        const CONTEXT: &str = "opening the index";
        let (db, found) = guarded(CONTEXT, || {
            let opened = self.open_database().and_then(|db| {
                let found = match read_totals(&db)? {
                    Err(1 | 2) => {
                        upgrade(&db)?;
                        read_totals(&db)?
                    }
                    found => found,
                };
                if found.is_ok() {
                    spelling::settle(&db)?;
                }
                Ok((db, found))
            });
            opened.map_err(|error| storage_error(CONTEXT, error))
        })?;
        match found {
            Ok(totals) => Ok((db, totals)),
            Err(found) if found > FORMAT => Err(StorageError::NewerFormat {
                found,
                supported: FORMAT,
            }),
            Err(found) => Err(StorageError::Corrupt(format!(
                "the index has the unknown format {found}"
            ))),
        }
    }

    fn open_database(&self) -> Result<Database, redb::Error> {
        if !self.disk.exists(FILE_NAME)? {
            // A crash in the middle leaves a file that is no database, under a name that is
            // not the index's.
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

/// Whether every page of the index matches its checksum. Walks through all of it, and repairs
/// what can be repaired.
pub(crate) fn verify(disk: Arc<dyn Disk>, cache_bytes: usize) -> Result<bool, StorageError> {
    let index = Index {
        disk,
        cache_bytes,
        unsynced: Arc::default(),
    };
    let (mut db, _) = index.open()?;
    const CONTEXT: &str = "checking the index";
    guarded(CONTEXT, || {
        db.check_integrity()
            .map_err(|error| storage_error(CONTEXT, error.into()))
    })
}

/// Runs what reads an index. On one that a disk has torn, redb may stumble over itself.
pub(crate) fn guarded<T>(context: &str, read: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
    catch_unwind(AssertUnwindSafe(read))
        .map_err(|_| StorageError::Corrupt(format!("{context}: what is in it makes no sense")))?
}

/// The totals, or the format that is not ours.
fn read_totals(db: &Database) -> Result<Result<Totals, u64>, redb::Error> {
    let txn = db.begin_read()?;
    let meta = txn.open_table(META)?;
    let number = |key: &str| -> Result<u64, redb::Error> { Ok(meta.get(key)?.map_or(0, |number| number.value())) };
    let format = number(META_FORMAT)?;
    if format != FORMAT {
        return Ok(Err(format));
    }
    Ok(Ok(Totals {
        applied: number(META_APPLIED)?,
        next_id: number(META_NEXT_ID)?.max(1),
        streams: txn.open_table(NAMES)?.len()?,
        bytes: number(META_BYTES)?,
        credit: number(META_CREDIT)?,
        garbage: !txn.open_table(GARBAGE)?.is_empty()? || !txn.open_table(TRIMMED)?.is_empty()?,
    }))
}

/// Makes the tables, so that whoever reads can rely on them.
fn initialize(db: &Database) -> Result<(), redb::Error> {
    let txn = write::begin(db)?;
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
    spelling::settle(db)
}

/// Makes format 3 of an earlier one. Format 1 has no table of trimmed streams; neither has one of
/// holes, both have producers instead of writers, and other records, which can still be read. An
/// older version refuses the index afterwards, instead of stumbling over what it does not know.
fn upgrade(db: &Database) -> Result<(), redb::Error> {
    let txn = write::begin(db)?;
    txn.open_table(TRIMMED)?;
    txn.open_table(HOLES)?;
    upgrade_producers(&txn)?;
    txn.open_table(META)?.insert(META_FORMAT, FORMAT)?;
    txn.commit()?;
    Ok(())
}

/// Makes writers of producers. Earlier versions remembered any number of them for a stream.
fn upgrade_producers(txn: &redb::WriteTransaction) -> Result<(), redb::Error> {
    const MAX_PER_STREAM: usize = 1000;
    {
        let producers = txn.open_table(PRODUCERS)?;
        let mut writers = txn.open_table(WRITERS)?;
        let (mut stream, mut count) = (0, 0);
        for row in producers.iter()? {
            let (key, state) = row?;
            let ((id, producer), (epoch, seq)) = (key.value(), state.value());
            count = if id == stream { count + 1 } else { 1 };
            stream = id;
            if count <= MAX_PER_STREAM {
                let progress = Progress::Producer(ProducerState { epoch, seq });
                let state = encode_writer(&WriterState { progress, used_at: 0 })?;
                writers.insert((id, producer), state.as_slice())?;
            }
        }
    }
    txn.delete_table(PRODUCERS)?;
    Ok(())
}

pub(super) use spelling::{candidates, warn_of_change};

#[cfg(test)]
pub(super) use spelling::make_former;

/// Pretends that another version wrote the index.
#[cfg(test)]
pub(super) fn set_format(path: &std::path::Path, format: u64) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(META_FORMAT, format).unwrap();
    txn.commit().unwrap();
}

/// Makes the index one of an earlier format, with the records of that format.
#[cfg(test)]
pub(super) fn make_earlier(path: &std::path::Path, format: u64) {
    let db = Database::open(path).unwrap();
    let txn = db.begin_write().unwrap();
    if format == 1 {
        assert!(txn.delete_table(TRIMMED).unwrap());
    }
    assert!(txn.delete_table(HOLES).unwrap());
    {
        let mut names = txn.open_table(NAMES).unwrap();
        let rows: Vec<(String, Vec<u8>)> = names
            .iter()
            .unwrap()
            .map(|row| row.unwrap())
            .map(|(name, record)| (name.value().to_owned(), record.value().to_vec()))
            .collect();
        for (name, record) in rows {
            let record = schema::decode_record(&name, &record).unwrap();
            names
                .insert(name.as_str(), schema::encode_earlier(&record).as_slice())
                .unwrap();
        }
    }
    {
        let mut producers = txn.open_table(PRODUCERS).unwrap();
        let writers = txn.open_table(WRITERS).unwrap();
        for row in writers.iter().unwrap() {
            let (key, state) = row.unwrap();
            let state = schema::decode_writer(0, state.value()).unwrap();
            if let Progress::Producer(ProducerState { epoch, seq }) = state.progress {
                producers.insert(key.value(), (epoch, seq)).unwrap();
            }
        }
    }
    assert!(txn.delete_table(WRITERS).unwrap());
    txn.commit().unwrap();
    drop(db);
    set_format(path, format);
}

#[cfg(test)]
pub(super) fn format(path: &std::path::Path) -> u64 {
    let db = Database::open(path).unwrap();
    let txn = db.begin_read().unwrap();
    txn.open_table(META).unwrap().get(META_FORMAT).unwrap().unwrap().value()
}
