//! Tools for a data directory: check, copy to another mode or another place, and get out of a
//! damaged one what can be read.
//!
//! None of them changes the directory that it reads: what opening it would change (a journal to
//! be applied, an index to be repaired) happens in memory. Each wants the directory's lock, so
//! that nobody writes meanwhile; a backup of a store that is in use is asked of the store
//! ([`Storage::backup`](super::Storage::backup)).

mod overlay;
mod target;

use std::{io, path::Path, sync::Arc};

use self::{overlay::Overlay, target::Target};
pub use super::journaled::copy::{Progress, Report};
use super::{
    StorageError,
    journaled::{JournaledStore, Options, base, disk::Directory, journal},
    lock::DirLock,
};
use crate::{clock, storage::StorageMode};

/// Memory for parts of the index that a tool reads.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Memory for parts of the index of a copy: a running server makes one beside its work.
const COPY_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Whether a directory holds a store, damaged or not.
///
/// # Errors
/// When that cannot be seen.
pub fn holds_store(dir: &Path) -> io::Result<bool> {
    Ok(dir.join(base::FILE_NAME).try_exists()? || dir.join(journal::FILE_NAME).try_exists()?)
}

/// Verifies the checksums of journal and index, and that records, bytes, files and what is due
/// fit together. Changes nothing.
///
/// # Errors
/// When the directory cannot be read at all, or is too damaged to be opened. What else is wrong
/// is in the report.
pub fn check(source: &DirLock) -> Result<Report, StorageError> {
    let altered = altered(source)?;
    let store = match (open_to_read(source, true), altered.clone()) {
        (Err(StorageError::Corrupt(damage)), Some(altered)) => {
            let problems = vec![altered, damage];
            return Ok(Report {
                problems,
                ..Report::default()
            });
        }
        (opened, _) => opened?,
    };
    let mut report = base::guarded("reading the index", || store.inspect())?;
    report.problems.splice(0..0, altered);
    Ok(report)
}

/// Copies everything to a new or empty directory in the layout of a mode; names, ids, positions
/// and producers stay as they are.
///
/// # Errors
/// When the source is damaged or the target cannot be written; then there is no target.
pub fn migrate(
    source: &DirLock,
    target: &Path,
    mode: StorageMode,
    progress: &mut Progress<'_>,
) -> Result<Report, StorageError> {
    if let Some(altered) = altered(source)? {
        return Err(StorageError::Corrupt(altered));
    }
    copy(&open_to_read(source, true)?, target, mode, false, progress)
}

/// Copies what can be read of a damaged directory to a new or empty one, and reports what cannot.
///
/// # Errors
/// When nothing can be read, or the target cannot be written; then there is no target.
pub fn salvage(
    source: &DirLock,
    target: &Path,
    mode: StorageMode,
    progress: &mut Progress<'_>,
) -> Result<Report, StorageError> {
    let altered = altered(source)?.map(|altered| format!("{altered}: what is in it is copied as it can be read"));
    let mut problems = Vec::from_iter(altered);
    let store = open_damaged(source, &mut problems)?;
    let mut report = copy(&store, target, mode, true, progress)?;
    problems.append(&mut report.problems);
    Ok(Report { problems, ..report })
}

/// Copies a store that is in use to a new or empty directory, as it is at this moment.
///
/// # Errors
/// When the store cannot be read or the target cannot be written; then there is no target.
pub(super) fn backup(
    store: &JournaledStore,
    target: &Path,
    mode: StorageMode,
    progress: &mut Progress<'_>,
) -> Result<Report, StorageError> {
    copy(store, target, mode, false, progress)
}

/// What a store without a directory says to a backup.
pub(super) fn no_directory() -> StorageError {
    refused("this store", "is not kept in a directory, so there is nothing to copy")
}

fn refused(what: &str, why: &str) -> StorageError {
    StorageError::Io {
        context: what.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidInput, why),
    }
}

/// In what way the index is not as it was written.
fn altered(source: &DirLock) -> Result<Option<String>, StorageError> {
    match base::verify(Arc::new(Overlay::on(source.dir())), CACHE_BYTES) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some("the index does not match its checksums".to_owned())),
        Err(StorageError::Corrupt(how)) => Ok(Some(format!("the index does not match its checksums ({how})"))),
        Err(error) => Err(error),
    }
}

/// With `strict`, a journal that is damaged somewhere is not opened; without, what is in front of
/// the damage counts.
fn open_to_read(source: &DirLock, strict: bool) -> Result<JournaledStore, StorageError> {
    open_overlay(Overlay::on(source.dir()), strict)
}

fn open_overlay(disk: Overlay, strict: bool) -> Result<JournaledStore, StorageError> {
    let options = Options {
        cache_bytes: CACHE_BYTES,
        sync: strict,
        ..Options::default()
    };
    JournaledStore::open(Arc::new(disk), options)
}

/// Opens as much as can be: all of it, else up to the damage in the journal, else without the
/// journal.
fn open_damaged(source: &DirLock, problems: &mut Vec<String>) -> Result<JournaledStore, StorageError> {
    let damage = match open_to_read(source, true) {
        Err(StorageError::Corrupt(damage)) => damage,
        opened => return opened,
    };
    if let Ok(store) = open_to_read(source, false) {
        problems.push(format!("{damage}: what was written from there on is lost"));
        return Ok(store);
    }
    let disk = Overlay::on(source.dir());
    journal::replace(&disk, clock::random_between(1, u64::MAX)).map_err(|source| StorageError::Io {
        context: "reading without the journal".to_owned(),
        source,
    })?;
    let store = open_overlay(disk, false)?;
    problems.push(format!("{damage}: what only the journal had is lost"));
    Ok(store)
}

fn copy(
    source: &JournaledStore,
    target: &Path,
    mode: StorageMode,
    salvage: bool,
    progress: &mut Progress<'_>,
) -> Result<Report, StorageError> {
    let options = match mode {
        StorageMode::Memory => return Err(no_directory()),
        StorageMode::Acid => Options::acid(COPY_CACHE_BYTES),
        StorageMode::FileFast | StorageMode::FileDurable => Options::file(false, 64),
    };
    // Nobody waits for a single batch: it is synced when it is complete.
    let options = Options { sync: false, ..options };
    let target = Target::create(target)?;
    let store = JournaledStore::open(Arc::new(Directory::existing(target.dir())), options)?;
    match source.copy_to(&store, salvage, progress) {
        Ok(report) => {
            drop(store);
            target.complete()?;
            Ok(report)
        }
        Err(error) => {
            store.discard();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
