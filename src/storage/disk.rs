//! The few things that a store asks of a file system, so that a test can put one under it
//! that fails on command.

use std::{
    fmt::Debug,
    fs::File,
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{private_files, storage::StorageError};

/// How many pieces one write takes at most, as POSIX systems have it.
const MAX_PIECES: usize = 1024;

/// A directory with files in it. Paths are relative, with `/`.
pub(crate) trait Disk: Send + Sync + Debug {
    /// Opens a file for reading and writing, and makes it and its directory when missing.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Whether there is such a file.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// Removes a file; none there is fine.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// The names of what is in a directory; none when it is missing.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Gives a file another name. After a crash it has the one or the other.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names in a directory durable; `""` is the directory itself.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Makes everything durable that was written to any file; `Unsupported` where the system
    /// cannot in one call.
    fn sync_all(&self) -> io::Result<()>;

    /// How many bytes there is room for; `None` when that cannot be told.
    fn free(&self) -> Option<u64>;
}

/// An open file.
pub(crate) trait DiskFile: Send + Sync + Debug {
    fn len(&self) -> io::Result<u64>;

    fn set_len(&self, len: u64) -> io::Result<()>;

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes the pieces one after the other. They may be cut short in passing.
    fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    fn sync(&self) -> io::Result<()>;

    /// Gives the space of a range back; its bytes read as zeros or as before. The file stays
    /// as long as it is.
    fn give_back(&self, offset: u64, len: u64) -> io::Result<()>;
}

/// A directory of the operating system.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    /// A directory that is there.
    pub(crate) fn existing(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Opens a file for reading only; `None` when there is none.
    pub(crate) fn open_to_read(&self, path: &str) -> io::Result<Option<File>> {
        match File::open(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// A directory, which is made when it is missing.
    pub(crate) fn create(root: &Path) -> Result<Self, StorageError> {
        private_files::create_dir_all(root).map_err(|source| StorageError::Io {
            context: format!("creating {}", root.display()),
            source,
        })?;
        Ok(Self { root: root.to_owned() })
    }
}

impl Disk for Directory {
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.root.join(path);
        let file = match private_files::open_or_create(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                private_files::create_dir_all(path.parent().unwrap_or(&self.root))?;
                private_files::open_or_create(&path)?
            }
            // What became read-only under way can still be read.
            Err(error) if is_read_only(&error) => File::open(&path).map_err(|_| error)?,
            opened => opened?,
        };
        Ok(Arc::new(file))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        self.root.join(path).try_exists()
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        match std::fs::remove_file(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.root.join(path))?.sync_all()
    }

    #[cfg(target_os = "linux")]
    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(&self.root)?)?)
    }

    /// `sync` of other systems does not wait for the disk.
    #[cfg(not(target_os = "linux"))]
    fn sync_all(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.root).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(out, offset)
    }

    fn write_at(&self, mut pieces: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            let count = pieces.len().min(MAX_PIECES);
            let written = match rustix::io::pwritev(self, pieces.get(..count).unwrap_or_default(), offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut pieces, written);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn give_back(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::FallocateFlags;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(self, hole, offset, len)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn give_back(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

/// Whether the disk has no room, rather than a fault.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
