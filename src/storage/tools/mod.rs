//! Tools for a data directory that no server is using: check, copy to another mode or another
//! place, and get out of a damaged one what can be read.
//!
//! None of them changes the directory that it reads: what opening it would change (a journal to
//! be applied, an index to be repaired) happens in memory. Each wants the directory's lock, so
//! that nobody writes meanwhile.

mod overlay;

use std::{path::Path, sync::Arc};

use self::overlay::Overlay;
pub use super::journaled::copy::Report;
use super::{
    StorageError,
    journaled::{JournaledStore, Options, base, disk::Directory},
    lock::DirLock,
};
use crate::config::StorageMode;

/// Memory for parts of the index that a tool reads.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

fn open_to_read(source: &DirLock) -> Result<JournaledStore, StorageError> {
    let disk = Arc::new(Overlay::on(source.dir()));
    let options = Options {
        cache_bytes: CACHE_BYTES,
        ..Options::default()
    };
    JournaledStore::open(disk, options)
}

fn create(target: &Path, mode: StorageMode) -> Result<JournaledStore, StorageError> {
    let refused = |what: &str| StorageError::Io {
        context: target.display().to_string(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, what),
    };
    let disk = Directory::create(target)?;
    let mut entries = std::fs::read_dir(target).map_err(|source| StorageError::Io {
        context: target.display().to_string(),
        source,
    })?;
    if entries.next().is_some() {
        return Err(refused("the target directory is not empty"));
    }
    let options = match mode {
        StorageMode::Memory => return Err(refused("the memory mode keeps nothing in a directory")),
        StorageMode::Acid => Options::acid(CACHE_BYTES),
        // It is synced when it is complete, and nobody waits for less.
        StorageMode::FileFast | StorageMode::FileDurable => Options::file(false, 64),
    };
    let options = Options { sync: false, ..options };
    JournaledStore::open(Arc::new(disk), options)
}

/// Verifies the checksums of journal and index, and that records, bytes, files and what is due
/// fit together. Changes nothing.
///
/// # Errors
/// When the directory cannot be read at all, or is too damaged to be opened. What else is wrong
/// is in the report.
pub fn check(source: &DirLock) -> Result<Report, StorageError> {
    let whole = base::verify(Arc::new(Overlay::on(source.dir())), CACHE_BYTES)?;
    let mut report = open_to_read(source)?.inspect()?;
    if !whole {
        let problem = "pages of the index do not match their checksums, or its allocator was off";
        report.problems.insert(0, problem.to_owned());
    }
    Ok(report)
}

/// Copies everything to an empty directory in the layout of a mode; names, ids, positions and
/// producers stay as they are.
///
/// # Errors
/// When the source is damaged or the target cannot be written.
pub fn migrate(source: &DirLock, target: &Path, mode: StorageMode) -> Result<Report, StorageError> {
    open_to_read(source)?.copy_to(&create(target, mode)?, false)
}

/// Copies what can be read of a damaged directory to an empty one, and reports what cannot.
///
/// # Errors
/// When nothing can be read, or the target cannot be written.
pub fn salvage(source: &DirLock, target: &Path, mode: StorageMode) -> Result<Report, StorageError> {
    open_to_read(source)?.copy_to(&create(target, mode)?, true)
}

/// Copies a store that is in use to an empty directory, as it is at this moment.
///
/// # Errors
/// When the store cannot be read or the target cannot be written.
pub(super) fn backup(store: &JournaledStore, target: &Path, mode: StorageMode) -> Result<Report, StorageError> {
    store.copy_to(&create(target, mode)?, false)
}

#[cfg(test)]
mod tests;
