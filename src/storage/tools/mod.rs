//! Tools for a data directory: check, migrate to another layout or place, from or to a database, and
//! salvage what can be read of a damaged one.
//!
//! None of them changes the directory that it reads: what opening it would change (replaying the
//! journal, repairing the index) happens in memory. Each needs the directory's lock, so that nobody
//! writes meanwhile. A store that is in use copies itself
//! ([`Storage::backup`](super::Storage::backup)).

#[cfg(feature = "postgres")]
pub(crate) mod database;
mod overlay;
mod target;
#[cfg(feature = "postgres")]
pub(crate) mod transfer;

use std::{io, path::Path, sync::Arc};

use self::{overlay::Overlay, target::Target};
pub(crate) use super::journaled::Layout;
use super::{
    CopyProgress, StorageError, StoreReport,
    disk::Directory,
    index, journal,
    journaled::{JournaledStore, Options, copy::CopyMode},
    lock::DirLock,
};
use crate::random::Random;

/// The cache of the index that a tool reads.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The cache of the index of a copy. A running server makes backups, so it is small.
const COPY_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// The most data files of a copy that are open at a time.
const COPY_MAX_OPEN_FILES: usize = 64;

/// Whether a directory holds a store, damaged or not.
///
/// # Errors
/// If the directory cannot be read.
pub(crate) fn holds_store(dir: &Path) -> io::Result<bool> {
    let [journal, _] = journal::FILE_NAMES;
    Ok(dir.join(index::FILE_NAME).try_exists()? || dir.join(journal).try_exists()?)
}

/// Verifies the checksums of journal and index, and that records, bytes, files and due times agree.
///
/// # Errors
/// If the directory cannot be read, or is too damaged to be opened. Other damage is reported.
pub(crate) fn check(source: &DirLock) -> Result<StoreReport, StorageError> {
    let damage = index_damage(source)?;
    let store = match open_to_read(source, CopyMode::Strict) {
        Ok(store) => store,
        Err(error) => {
            let problem = error.into_damage()?;
            let Some(damage) = damage else {
                return Err(StorageError::Corrupt(problem));
            };
            return Ok(StoreReport {
                problems: vec![damage, problem],
                ..StoreReport::default()
            });
        }
    };
    let mut report = index::catch_redb_panic("reading the index", || store.inspect())?;
    report.problems.splice(0..0, damage);
    Ok(report)
}

/// Copies everything to a new or empty directory in a layout. Names, ids, positions and producers
/// stay the same.
///
/// # Errors
/// If the source is damaged or the target cannot be written to. No target is left behind.
pub(crate) fn migrate(
    source: &DirLock,
    target: &Path,
    layout: Layout,
    progress: &mut CopyProgress<'_>,
) -> Result<StoreReport, StorageError> {
    if let Some(damage) = index_damage(source)? {
        return Err(StorageError::Corrupt(damage));
    }
    let store = open_to_read(source, CopyMode::Strict)?;
    copy(&store, target, layout, CopyMode::Strict, progress)
}

/// Copies what can be read of a damaged directory to a new or empty one and reports what cannot.
///
/// # Errors
/// If nothing can be read, or the target cannot be written to. No target is left behind.
pub(crate) fn salvage(
    source: &DirLock,
    target: &Path,
    layout: Layout,
    progress: &mut CopyProgress<'_>,
) -> Result<StoreReport, StorageError> {
    let damage = index_damage(source)?.map(|damage| format!("{damage}: copying what can be read"));
    let mut problems = Vec::from_iter(damage);
    let store = open_damaged(source, &mut problems)?;
    let mut report = copy(&store, target, layout, CopyMode::Salvage, progress)?;
    problems.append(&mut report.problems);
    Ok(StoreReport { problems, ..report })
}

/// Copies a store that is in use, as of this moment, to a new or empty directory.
///
/// # Errors
/// If the store cannot be read or the target cannot be written to. No target is left behind.
pub(super) fn backup(
    store: &JournaledStore,
    target: &Path,
    progress: &mut CopyProgress<'_>,
) -> Result<StoreReport, StorageError> {
    copy(store, target, store.options().layout(), CopyMode::Strict, progress)
}

/// The damage of the index, if any.
fn index_damage(source: &DirLock) -> Result<Option<String>, StorageError> {
    const DAMAGE: &str = "the index does not match its checksums";
    match index::verify(Arc::new(Overlay::on(source.dir())), CACHE_BYTES) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some(DAMAGE.to_owned())),
        Err(error) => Ok(Some(format!("{DAMAGE} ({})", error.into_damage()?))),
    }
}

/// Opens the store in memory. [`CopyMode::Salvage`] accepts a damaged journal up to the damage.
fn open_to_read(source: &DirLock, mode: CopyMode) -> Result<JournaledStore, StorageError> {
    open_overlay(Overlay::on(source.dir()), mode)
}

fn open_overlay(disk: Overlay, mode: CopyMode) -> Result<JournaledStore, StorageError> {
    let options = Options {
        cache_bytes: CACHE_BYTES,
        // A journal that is not synced may end with damaged records.
        sync: mode == CopyMode::Strict,
        ..Options::default()
    };
    JournaledStore::open(Arc::new(disk), options)
}

/// Opens as much as possible: everything, else everything before the damage in the journal, else
/// the index alone.
fn open_damaged(source: &DirLock, problems: &mut Vec<String>) -> Result<JournaledStore, StorageError> {
    let damage = match open_to_read(source, CopyMode::Strict) {
        Ok(store) => return Ok(store),
        Err(error) => error.into_damage()?,
    };
    if let Ok(store) = open_to_read(source, CopyMode::Salvage) {
        problems.push(format!("{damage}: everything written from there on is lost"));
        return Ok(store);
    }
    let disk = Overlay::on(source.dir());
    let salts = std::array::from_fn(|_| Random::system().between(1, u64::MAX));
    journal::replace(&disk, salts).map_err(|source| StorageError::Io {
        context: "reading without the journal".to_owned(),
        source,
    })?;
    let store = open_overlay(disk, CopyMode::Salvage)?;
    problems.push(format!("{damage}: everything that was only in the journal is lost"));
    Ok(store)
}

fn copy(
    source: &JournaledStore,
    target: &Path,
    layout: Layout,
    mode: CopyMode,
    progress: &mut CopyProgress<'_>,
) -> Result<StoreReport, StorageError> {
    copy_into(target, layout, |store| source.copy_to(store, mode, progress))
}

/// Makes a store in a new or empty directory and has it filled.
fn copy_into(
    target: &Path,
    layout: Layout,
    fill: impl FnOnce(&JournaledStore) -> Result<StoreReport, StorageError>,
) -> Result<StoreReport, StorageError> {
    let options = match layout {
        Layout::Index => Options::acid(COPY_CACHE_BYTES),
        Layout::DataFiles => Options::file(false, COPY_MAX_OPEN_FILES),
    };
    // Synced once, when the copy is complete.
    let options = Options { sync: false, ..options };
    let target = Target::create(target, &options.clock)?;
    let store = JournaledStore::open(Arc::new(Directory::existing(target.dir())), options)?;
    match fill(&store) {
        Ok(report) => {
            drop(store);
            target.complete()?;
            Ok(report)
        }
        Err(error) => {
            // The target is removed, and the disk may be full.
            store.discard();
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests;
