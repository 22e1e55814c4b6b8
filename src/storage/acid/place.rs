//! Where the database lies: a file, or in tests something that fails on command.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;
use redb::{Builder, Database, DatabaseError, StorageBackend};

/// Where the database lies.
pub(super) trait Place: Send + Sync + std::fmt::Debug {
    /// Opens it, or makes an empty one.
    fn open(&self) -> Result<Database, DatabaseError>;

    /// How many bytes the place can still take; `None` when it cannot be told.
    fn free(&self) -> Option<u64>;
}

/// A file in the data directory.
#[derive(Debug)]
pub(super) struct FilePlace {
    pub(super) path: PathBuf,
    pub(super) cache_bytes: usize,
}

impl Place for FilePlace {
    fn open(&self) -> Result<Database, DatabaseError> {
        let new = !self.path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&self.path)?;
        let db = Builder::new()
            .set_cache_size(self.cache_bytes)
            .create_with_backend(DiskFile::new(file)?)?;
        if new {
            // Else a power loss may take the name of the file with all that is in it.
            sync_directory(self.path.parent().unwrap_or(Path::new(".")))?;
        }
        Ok(db)
    }

    fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(self.path.parent()?).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Makes a directory's entries durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A database file that tries again when a sync fails.
///
/// After a failed sync Linux takes the pages for clean, lost or not: the next sync succeeds
/// without having written them. So they are written again from what the cache has, and only
/// then is success believed. (The data directory's lock keeps others out; redb's own would be
/// one more descriptor to wait for when the file is opened anew.)
#[derive(Debug)]
struct DiskFile {
    file: File,
    unsynced: Mutex<Vec<(u64, usize)>>,
}

impl DiskFile {
    fn new(file: File) -> io::Result<Self> {
        // Whatever an earlier holder wrote and failed to sync is not ours to vouch for, but
        // what this one reads is to be what is there after a power loss.
        file.sync_data()?;
        Ok(Self {
            file,
            unsynced: Mutex::default(),
        })
    }

    fn write_again(&self, written: &[(u64, usize)]) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let mut page = Vec::new();
        for (offset, size) in written {
            let size = usize::try_from(len.saturating_sub(*offset)).map_or(*size, |left| left.min(*size));
            page.resize(size, 0);
            self.file.read_exact_at(&mut page, *offset)?;
            self.file.write_all_at(&page, *offset)?;
        }
        self.file.sync_data()
    }
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let written = std::mem::take(&mut *self.unsynced.lock());
        self.file.sync_data().or_else(|_| self.write_again(&written))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.unsynced.lock().push((offset, data.len()));
        self.file.write_all_at(data, offset)
    }
}
