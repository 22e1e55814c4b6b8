//! Copies between a directory and a database.

use std::{ops::Range, path::Path};

use bytes::Bytes;

use super::{
    copy_into, index_damage, open_to_read,
    transfer::{Entry, Sink, Source, transfer},
};
use crate::storage::{
    Change, CopyProgress, Position, StorageError, StoreReport, StreamId, index,
    journaled::{
        JournaledStore, Layout,
        copy::{CopyMode, complete, write_strictly},
    },
    lock::DirLock,
    postgres::tools::Database,
};

const READING: &str = "reading the index";

/// Copies a directory to an empty database.
///
/// # Errors
/// If the source is damaged, or the database is in use, not empty, or cannot be written to. It is
/// unchanged then.
pub(crate) fn migrate_to_database(
    source: &DirLock,
    target: &Database,
    progress: &mut CopyProgress<'_>,
) -> Result<StoreReport, StorageError> {
    if let Some(damage) = index_damage(source)? {
        return Err(StorageError::Corrupt(damage));
    }
    let store = open_to_read(source, CopyMode::Strict)?;
    let mut import = target.import()?;
    transfer(&store, &mut import, progress)
}

/// Copies a database to a new or empty directory in a layout.
///
/// # Errors
/// If the database is in use or damaged, or the target cannot be written to. No target is left behind.
pub(crate) fn migrate_from_database(
    source: &Database,
    target: &Path,
    layout: Layout,
    progress: &mut CopyProgress<'_>,
) -> Result<StoreReport, StorageError> {
    let export = source.export()?;
    copy_into(target, layout, |store| {
        transfer(&export, &mut Directory(store), progress)
    })
}

impl Source for JournaledStore {
    fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StorageError> {
        index::catch_redb_panic(READING, || {
            let page = self.list("", after, limit)?;
            let entries = page.into_iter().map(|(name, stored)| {
                let writers = self.writers(stored.record.id)?;
                Ok(Entry { name, stored, writers })
            });
            entries.collect()
        })
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        index::catch_redb_panic(READING, || Self::read(self, id, range))
    }

    fn next_id(&self) -> Result<StreamId, StorageError> {
        Ok(Self::next_id(self))
    }
}

/// The store of a new directory.
struct Directory<'s>(&'s JournaledStore);

impl Sink for Directory<'_> {
    fn write(&mut self, changes: Vec<Change>) -> Result<(), StorageError> {
        write_strictly(self.0, &changes)
    }

    fn finish(&mut self, next_id: StreamId) -> Result<(), StorageError> {
        complete(self.0, next_id)
    }
}
