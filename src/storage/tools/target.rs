//! The directory that a copy is made in. It is renamed when the copy is complete.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    clock::Clock,
    private_files,
    storage::{
        StorageError,
        disk::{Directory, Disk as _},
        index, journal,
        lock::{self, DirLock},
    },
};

/// The suffix of an incomplete copy.
const PARTIAL: &str = ".partial";

/// An incomplete copy, next to its final place. It is removed on drop unless
/// [`Self::complete`] was called. A killed process leaves it behind under the name of an incomplete
/// copy.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    partial: PathBuf,
    complete: bool,
    /// Keeps a server from starting on it.
    _lock: DirLock,
}

impl Target {
    /// Claims a path, at which there must be nothing or an empty directory.
    pub(super) fn create(path: &Path, clock: &Clock) -> Result<Self, StorageError> {
        let path = claim_target(path)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(PARTIAL);
        let partial = path.with_file_name(name);
        private_files::create_dir(&partial).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => invalid(
                &partial,
                "already exists: unless another copy is being made there, one that failed has left it; remove it and \
                 try again",
            ),
            _ => creating(&partial, source),
        })?;
        let lock = lock::acquire(&partial, clock).inspect_err(|_| _ = fs::remove_dir(&partial))?;
        Ok(Self {
            path,
            partial,
            complete: false,
            _lock: lock,
        })
    }

    /// The directory to write to.
    pub(super) fn dir(&self) -> &Path {
        &self.partial
    }

    /// Makes the copy durable and renames it. Its store must be closed.
    pub(super) fn complete(mut self) -> Result<(), StorageError> {
        let synced = |context: &Path, done: io::Result<()>| {
            done.map_err(|source| StorageError::Io {
                context: format!("syncing {}", context.display()),
                source,
            })
        };
        let disk = Directory::existing(&self.partial);
        for file in journal::FILE_NAMES.into_iter().chain([index::FILE_NAME]) {
            synced(&self.partial.join(file), disk.open(file).and_then(|file| file.sync()))?;
        }
        synced(&self.partial, disk.sync_dir(""))?;
        fs::rename(&self.partial, &self.path).map_err(|source| StorageError::Io {
            context: format!("renaming {} to {}", self.partial.display(), self.path.display()),
            source,
        })?;
        self.complete = true;
        let parent = parent(&self.path);
        synced(parent, Directory::existing(parent).sync_dir(""))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.complete
            && let Err(error) = fs::remove_dir_all(&self.partial)
        {
            tracing::warn!(path = %self.partial.display(), %error, "could not remove an incomplete copy");
        }
    }
}

/// Resolves a path and removes an empty directory there.
fn claim_target(given: &Path) -> Result<PathBuf, StorageError> {
    let path = match given.is_symlink() {
        true => given.canonicalize(),
        false => std::path::absolute(given),
    };
    let path = path.map_err(|source| StorageError::Io {
        context: given.display().to_string(),
        source,
    })?;
    if path.file_name().is_none() {
        return Err(invalid(given, "cannot be the name of a new directory"));
    }
    // Fails now for a mount point, instead of after everything is copied.
    match fs::remove_dir(&path) {
        Ok(()) => Ok(path),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound if parent(&path).is_dir() => Ok(path),
            io::ErrorKind::NotFound => Err(invalid(
                parent(&path),
                "does not exist: create the directory that is to hold the copy first",
            )),
            io::ErrorKind::DirectoryNotEmpty => Err(invalid(
                given,
                "is not empty: a copy is made to a new or empty directory",
            )),
            io::ErrorKind::NotADirectory => Err(invalid(given, "is not a directory")),
            io::ErrorKind::ResourceBusy => Err(invalid(
                given,
                "is a mount point, which cannot be replaced: name a directory inside it",
            )),
            _ => Err(creating(&path, error)),
        },
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn invalid(path: &Path, problem: &'static str) -> StorageError {
    StorageError::InvalidTarget {
        path: path.to_owned(),
        problem,
    }
}

fn creating(path: &Path, source: io::Error) -> StorageError {
    StorageError::Io {
        context: format!("creating {}", path.display()),
        source,
    }
}
