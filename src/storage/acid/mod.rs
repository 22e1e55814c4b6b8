//! Streams in one redb database: every batch is a transaction, acknowledged when it is on
//! disk. `docs/storage.md` describes the tables.

mod place;
mod read;
mod schema;
mod write;

use std::{
    ops::Range,
    path::Path,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadableDatabase, ReadableTableMetadata};

use self::{
    place::{FilePlace, Place},
    schema::{
        DATA, DUE, FORMAT, GARBAGE, META, META_BYTES, META_FORMAT, META_NEXT_ID, NAMES, PRODUCERS, needs_reopen,
        storage_error,
    },
    write::{Effect, Outcome},
};
use super::{Change, CommitError, Position, ProducerState, Storage, StorageError, Stored, StreamId, Usage};
use crate::{clock::Millis, protocol::StreamName};

/// The database's file in the data directory.
pub const FILE_NAME: &str = "streams.redb";

/// What is left free on the disk, so that streams can still be deleted when it is full.
const RESERVE: u64 = 1024 * 1024;

/// What a row may cost on the way to the disk besides its bytes: the pages above it.
const ROW_COST: u64 = 8 * 1024;

/// A [`Storage`] in a redb database.
#[derive(Debug)]
pub struct AcidStorage {
    place: Box<dyn Place>,
    slot: RwLock<Slot>,
    /// Held by whoever writes.
    writer: Mutex<Writer>,
    streams: AtomicI64,
    bytes: AtomicI64,
    garbage: AtomicBool,
}

/// The open database. redb refuses to go on after an I/O error, until it is opened anew.
#[derive(Debug)]
struct Slot {
    db: Option<Database>,
    /// How often it was opened.
    generation: u64,
}

#[derive(Debug, Default)]
struct Writer {
    /// Bytes given back since the disk was last seen to have room: what may still be written
    /// to the file's own free pages when the disk has none.
    credit: u64,
    /// What the database says that all streams hold.
    saved_bytes: i64,
}

impl AcidStorage {
    /// Opens the database in `dir`, or makes an empty one. Keeps up to `cache_bytes` of it in
    /// memory.
    ///
    /// # Errors
    /// When the directory cannot be used, the file is damaged, or a newer version wrote it.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StorageError> {
        std::fs::create_dir_all(dir).map_err(|source| StorageError::Io {
            context: format!("creating {}", dir.display()),
            source,
        })?;
        Self::open_at(Box::new(FilePlace {
            path: dir.join(FILE_NAME),
            cache_bytes: usize::try_from(cache_bytes).unwrap_or(usize::MAX),
        }))
    }

    fn open_at(place: Box<dyn Place>) -> Result<Self, StorageError> {
        let (db, found) = open_database(&*place)?;
        Ok(Self {
            place,
            slot: RwLock::new(Slot {
                db: Some(db),
                generation: 0,
            }),
            writer: Mutex::new(Writer {
                credit: 0,
                saved_bytes: found.bytes,
            }),
            streams: AtomicI64::new(found.streams),
            bytes: AtomicI64::new(found.bytes),
            garbage: AtomicBool::new(found.garbage),
        })
    }

    /// Runs `work` on the database, once more when it had to be opened anew.
    fn with<T>(&self, context: &str, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StorageError> {
        let (error, generation) = match self.attempt(&work) {
            (Ok(done), _) => return Ok(done),
            (Err(error), generation) => (error, generation),
        };
        if !needs_reopen(&error) {
            return Err(storage_error(context, error));
        }
        self.reopen(generation)?;
        self.attempt(&work).0.map_err(|error| storage_error(context, error))
    }

    fn attempt<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> (Result<T, redb::Error>, u64) {
        let slot = self.slot.read();
        let done = slot.db.as_ref().map_or(Err(redb::Error::DatabaseClosed), work);
        (done, slot.generation)
    }

    /// Opens the database anew, unless someone else has since `generation`.
    fn reopen(&self, generation: u64) -> Result<(), StorageError> {
        let mut slot = self.slot.write();
        if slot.generation != generation {
            return Ok(());
        }
        slot.db = None;
        let (db, found) = open_database(&*self.place)?;
        tracing::warn!("the database was opened anew after an I/O error");
        self.streams.store(found.streams, Ordering::Relaxed);
        self.garbage.store(found.garbage, Ordering::Relaxed);
        slot.db = Some(db);
        slot.generation += 1;
        Ok(())
    }

    /// Runs `work`, which writes. When the disk fails in the middle, `landed` is asked
    /// afterwards whether what was to be written is there: a commit whose sync failed may be.
    fn write<T>(
        &self,
        context: &str,
        work: impl Fn(&Database) -> Result<T, redb::Error>,
        landed: impl Fn(&Self) -> Option<T>,
    ) -> Result<T, CommitError> {
        let (error, generation) = match self.attempt(&work) {
            (Ok(done), _) => return Ok(done),
            (Err(error), generation) => (error, generation),
        };
        if !needs_reopen(&error) {
            return Err(commit_error(context, error));
        }
        if let Err(error) = self.reopen(generation) {
            tracing::error!(%error, "the database cannot be opened anew after an I/O error");
        } else if let Some(done) = landed(self) {
            return Ok(done);
        } else if !matches!(error, redb::Error::Io(_)) {
            // It was closed by someone else's error, which need not be ours.
            return self.attempt(&work).0.map_err(|error| commit_error(context, error));
        }
        Err(commit_error(context, error))
    }

    /// Refuses what the disk has no room for. redb would only notice in the middle of a
    /// commit, and then has to be opened anew.
    fn check_room(&self, writer: &mut Writer, batch: &[Change]) -> Result<(), CommitError> {
        let (mut cost, mut grows) = (0u64, false);
        for change in batch {
            cost += ROW_COST;
            match change {
                Change::Append { data, .. } => {
                    grows = true;
                    cost += data.iter().map(|piece| 2 * piece.len() as u64).sum::<u64>();
                }
                Change::Put { .. } | Change::Producer { .. } => grows = true,
                Change::Remove { .. } => {}
            }
        }
        if !grows {
            return Ok(());
        }
        let Some(free) = self.place.free() else {
            return Ok(());
        };
        if free >= RESERVE + cost {
            writer.credit = 0;
            return Ok(());
        }
        if writer.credit < cost {
            return Err(CommitError::Full(format!("the disk has {free} bytes left")));
        }
        writer.credit -= cost;
        Ok(())
    }

    /// Whether a batch that may or may not have been committed was. Every batch of the engine
    /// moves a tail or writes a record.
    fn landed(&self, batch: &[Change]) -> bool {
        let landed = self.with("reading after an I/O error", |db| {
            for change in batch.iter().rev() {
                match change {
                    Change::Append { id, at, data } => {
                        let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
                        if len > 0 {
                            let tail = read::tail(&db.begin_read()?.open_table(DATA)?, *id)?;
                            return Ok(tail == Some(at + len));
                        }
                    }
                    Change::Put { name, record } => {
                        let found = read::get(db, name)?;
                        return Ok(found.is_some_and(|found| found.record == *record));
                    }
                    Change::Producer { id, producer, state } => {
                        return Ok(read::producer(db, *id, producer)? == Some(*state));
                    }
                    Change::Remove { name, id } => {
                        let found = read::get(db, name)?;
                        return Ok(found.is_none_or(|found| found.record.id != *id));
                    }
                }
            }
            Ok(true)
        });
        landed.unwrap_or(false)
    }

    fn before(&self) -> Effect {
        Effect {
            streams: self.streams.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            garbage: self.garbage.load(Ordering::Relaxed),
        }
    }
}

impl Storage for AcidStorage {
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        self.with("reading a record", |db| read::get(db, name))
    }

    fn producer(&self, id: StreamId, producer: &str) -> Result<Option<ProducerState>, StorageError> {
        self.with("reading a producer", |db| read::producer(db, id, producer))
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(StreamName, Stored)>, StorageError> {
        self.with("listing streams", |db| read::list(db, prefix, after, limit))
    }

    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
        self.with("looking for due streams", |db| read::due(db, now, limit))
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        self.with("reading a stream", |db| read::read(db, id, &range))
    }

    fn commit(&self, batch: &[Change]) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock();
        self.check_room(&mut writer, batch)?;
        let before = self.before();
        let outcome = self.write(
            "committing a batch",
            |db| write::commit(db, batch, &before),
            |store| {
                // What it came to is not known; the count of bytes is allowed to be off.
                store.landed(batch).then(|| Outcome::Done(Effect::default()))
            },
        )?;
        match outcome {
            Outcome::Done(effect) => {
                self.streams.fetch_add(effect.streams, Ordering::Relaxed);
                self.bytes.fetch_add(effect.bytes, Ordering::Relaxed);
                if effect.garbage {
                    self.garbage.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            Outcome::Refused(error) => Err(error),
        }
    }

    fn reserve_ids(&self, count: u64) -> Result<StreamId, CommitError> {
        let _writer = self.writer.lock();
        // Ids that were set aside by a commit that then seemed to fail are never used: no harm.
        self.write("reserving ids", |db| write::reserve_ids(db, count), |_| None)
    }

    fn maintain(&self) -> Result<bool, CommitError> {
        let mut writer = self.writer.lock();
        if self.garbage.load(Ordering::Relaxed) {
            let (freed, more) = self.write("giving space back", write::reclaim, |_| None)?;
            writer.credit += freed;
            self.garbage.store(more, Ordering::Relaxed);
            return Ok(more);
        }
        let bytes = self.bytes.load(Ordering::Relaxed);
        if writer.saved_bytes != bytes {
            self.write("counting bytes", |db| write::save_bytes(db, bytes), |_| None)?;
            writer.saved_bytes = bytes;
        }
        Ok(false)
    }

    fn usage(&self) -> Usage {
        let count = |counter: &AtomicI64| u64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(0);
        Usage {
            streams: count(&self.streams),
            bytes: count(&self.bytes),
        }
    }
}

impl Drop for AcidStorage {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        if self.writer.get_mut().saved_bytes != bytes
            && let Some(db) = &self.slot.get_mut().db
            && let Err(error) = write::save_bytes(db, bytes)
        {
            tracing::warn!(%error, "the count of stored bytes was not saved");
        }
    }
}

/// Opens the database and says what is in it. Looks at no stream.
fn open_database(place: &dyn Place) -> Result<(Database, Effect), StorageError> {
    const CONTEXT: &str = "opening the database";
    let db = place.open().map_err(|error| storage_error(CONTEXT, error.into()))?;
    let found = read_meta(&db)
        .or_else(|error| match error {
            redb::Error::TableDoesNotExist(_) => initialize(&db).map(|()| (FORMAT, Effect::default())),
            error => Err(error),
        })
        .map_err(|error| storage_error(CONTEXT, error))?;
    match found {
        (FORMAT, effect) => Ok((db, effect)),
        (found, _) if found > FORMAT => Err(StorageError::NewerFormat {
            found,
            supported: FORMAT,
        }),
        (found, _) => Err(StorageError::Corrupt(format!("it has the unknown format {found}"))),
    }
}

fn read_meta(db: &Database) -> Result<(u64, Effect), redb::Error> {
    let txn = db.begin_read()?;
    let meta = txn.open_table(META)?;
    let format = meta.get(META_FORMAT)?.map_or(0, |format| format.value());
    if format != FORMAT {
        return Ok((format, Effect::default()));
    }
    let bytes = meta.get(META_BYTES)?.map_or(0, |bytes| bytes.value());
    let effect = Effect {
        streams: i64::try_from(txn.open_table(NAMES)?.len()?).unwrap_or(i64::MAX),
        bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        garbage: !txn.open_table(GARBAGE)?.is_empty()?,
    };
    Ok((format, effect))
}

/// Makes the tables, so that whoever reads can rely on them.
fn initialize(db: &Database) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT)?;
        meta.insert(META_NEXT_ID, 1)?;
        txn.open_table(NAMES)?;
        txn.open_table(DATA)?;
        txn.open_table(PRODUCERS)?;
        txn.open_table(DUE)?;
        txn.open_table(GARBAGE)?;
    }
    txn.commit()?;
    Ok(())
}

fn commit_error(context: &str, error: redb::Error) -> CommitError {
    match error {
        redb::Error::Io(source) if is_full(&source) => CommitError::Full(source.to_string()),
        error => CommitError::Storage(storage_error(context, error)),
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests;
