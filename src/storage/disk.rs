//! The file system operations that a store needs, as traits: tests run it on a simulated disk.

use std::{
    fmt::Debug,
    fs::File,
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use super::{StorageError, error::is_read_only};
use crate::private_files;

/// The POSIX limit on the number of buffers of one write.
const MAX_BUFFERS: usize = 1024;

/// A directory of files. Paths are relative and use `/`.
pub(crate) trait Disk: Send + Sync + Debug {
    /// Opens a file for reading and writing, and creates it and its directory if necessary.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Whether a file exists.
    fn exists(&self, path: &str) -> io::Result<bool>;

    /// Removes a file if it exists.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// The names in a directory; none if it does not exist.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Renames a file atomically.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names in a directory durable; `""` is the root.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Makes all writes to all files durable in one call; `Unsupported` if the system has no
    /// such call.
    fn sync_all(&self) -> io::Result<()>;

    /// The free space in bytes; `None` if unknown.
    fn free(&self) -> Option<u64>;
}

/// An open file.
pub(crate) trait DiskFile: Send + Sync + Debug {
    fn len(&self) -> io::Result<u64>;

    fn set_len(&self, len: u64) -> io::Result<()>;

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all buffers in order. `buffers` are consumed as the write advances.
    fn write_at(&self, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()>;

    fn sync(&self) -> io::Result<()>;

    /// Frees the space of a range, which reads as zeros or unchanged. The length stays the same.
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()>;
}

/// A directory of the operating system.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    root: PathBuf,
    /// Opened by the first question for free space, which is asked for each batch: without it, each
    /// costs a walk along the path. `None`: it could not be opened.
    handle: Arc<OnceLock<Option<File>>>,
}

impl Directory {
    /// A directory that exists.
    pub(crate) fn existing(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            handle: Arc::default(),
        }
    }

    /// Opens a file for reading only; `None` if it does not exist.
    pub(crate) fn open_to_read(&self, path: &str) -> io::Result<Option<File>> {
        match File::open(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// A directory, created if necessary.
    pub(crate) fn create(root: &Path) -> Result<Self, StorageError> {
        private_files::create_dir_all(root).map_err(|source| StorageError::Io {
            context: format!("creating {}", root.display()),
            source,
        })?;
        Ok(Self::existing(root))
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
            // A file system that turned read-only can still be read.
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

    /// On other systems `sync` does not wait for the disk.
    #[cfg(not(target_os = "linux"))]
    fn sync_all(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn free(&self) -> Option<u64> {
        let stat = match self.handle.get_or_init(|| File::open(&self.root).ok()) {
            Some(handle) => rustix::fs::fstatvfs(handle),
            None => rustix::fs::statvfs(&self.root),
        };
        let stat = stat.ok()?;
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

    fn write_at(&self, mut buffers: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut buffers, 0);
        while !buffers.is_empty() {
            let count = buffers.len().min(MAX_BUFFERS);
            let written = match rustix::io::pwritev(self, buffers.get(..count).unwrap_or_default(), offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            offset += written as u64;
            IoSlice::advance_slices(&mut buffers, written);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::FallocateFlags;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(self, hole, offset, len)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn punch_hole(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
