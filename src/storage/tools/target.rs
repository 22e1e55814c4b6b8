//! The directory that a copy is made in. It gets its name when it is complete.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Directory, index, journal, refused};
use crate::{
    private_files,
    storage::{
        StorageError,
        disk::Disk as _,
        lock::{self, DirLock},
    },
};

/// Added to the name of a copy that is not complete.
const PARTIAL: &str = ".partial";

/// A copy in the making, beside the place where it will be. Without [`Self::complete`] it is
/// removed again; a process that is killed leaves it, and nobody takes it for complete.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    partial: PathBuf,
    complete: bool,
    /// So that no server is started on it meanwhile.
    _lock: DirLock,
}

impl Target {
    /// Takes the place of a directory that is not there, or empty.
    pub(super) fn create(path: &Path) -> Result<Self, StorageError> {
        let path = vacate(path)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(PARTIAL);
        let partial = path.with_file_name(name);
        private_files::create_dir(&partial).map_err(|source| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                let why = "is there already: if no other copy is being made there, it was left by one that did not \
                           finish; remove it and try again";
                return refused(&partial.display().to_string(), why);
            }
            creating(&partial, source)
        })?;
        let lock = lock::acquire(&partial).map_err(|error| {
            _ = fs::remove_dir(&partial);
            creating(&partial, io::Error::other(error))
        })?;
        Ok(Self {
            path,
            partial,
            complete: false,
            _lock: lock,
        })
    }

    /// Where to write until then.
    pub(super) fn dir(&self) -> &Path {
        &self.partial
    }

    /// Makes it durable and gives it its name. Whoever wrote to it has closed it.
    pub(super) fn complete(mut self) -> Result<(), StorageError> {
        let synced = |context: &Path, done: io::Result<()>| {
            done.map_err(|source| StorageError::Io {
                context: format!("syncing {}", context.display()),
                source,
            })
        };
        let disk = Directory::existing(&self.partial);
        for file in [journal::FILE_NAME, index::FILE_NAME] {
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
            tracing::warn!(path = %self.partial.display(), %error, "a copy that was not finished could not be removed");
        }
    }
}

/// The place itself, with nothing there.
fn vacate(path: &Path) -> Result<PathBuf, StorageError> {
    let shown = path.display().to_string();
    let path = if path.is_symlink() {
        path.canonicalize()
    } else {
        std::path::absolute(path)
    };
    let path = path.map_err(|source| StorageError::Io {
        context: shown.clone(),
        source,
    })?;
    if path.file_name().is_none() {
        return Err(refused(&shown, "cannot be the name of a new directory"));
    }
    // An empty directory that is mounted here says so now, and not when all is copied.
    match fs::remove_dir(&path) {
        Ok(()) => Ok(path),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound if parent(&path).is_dir() => Ok(path),
            io::ErrorKind::NotFound => Err(refused(
                &parent(&path).display().to_string(),
                "is not there: the directory that the copy is made in must be",
            )),
            io::ErrorKind::DirectoryNotEmpty => Err(refused(
                &shown,
                "is not empty: a copy is made to a new or empty directory",
            )),
            io::ErrorKind::NotADirectory => Err(refused(&shown, "is not a directory")),
            io::ErrorKind::ResourceBusy => Err(refused(
                &shown,
                "is a mount point, which cannot be replaced: name a directory in it",
            )),
            _ => Err(creating(&path, error)),
        },
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn creating(path: &Path, source: io::Error) -> StorageError {
    StorageError::Io {
        context: format!("creating {}", path.display()),
        source,
    }
}
