//! The index's file as a backend of redb.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::storage::disk::DiskFile;

/// Offsets and lengths of unsynced writes. It outlives a database that has to be reopened.
pub(crate) type Unsynced = Arc<Mutex<Vec<(u64, usize)>>>;

/// A file that rewrites its pages when a sync fails.
///
/// After a failed sync Linux marks the pages clean, so the next sync succeeds without having
/// written them. Rewriting them from the page cache makes that sync count. The file is not locked:
/// the lock on the data directory covers it.
#[derive(Debug)]
pub(super) struct Backend {
    file: Arc<dyn DiskFile>,
    unsynced: Unsynced,
}

impl Backend {
    pub(super) fn new(file: Arc<dyn DiskFile>, unsynced: Unsynced) -> io::Result<Self> {
        let backend = Self { file, unsynced };
        // Reads must return what survives a power failure.
        backend.sync(true)?;
        Ok(backend)
    }

    fn sync(&self, rewrite: bool) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock();
        if rewrite || self.file.sync().is_err() {
            self.rewrite(&unsynced)?;
            self.file.sync()?;
        }
        unsynced.clear();
        Ok(())
    }

    fn rewrite(&self, written: &[(u64, usize)]) -> io::Result<()> {
        let len = self.file.len()?;
        self.file.set_len(len)?;
        let mut page = Vec::new();
        for (offset, size) in written {
            let size = usize::try_from(len.saturating_sub(*offset)).map_or(*size, |left| left.min(*size));
            page.resize(size, 0);
            self.file.read_at(&mut page, *offset)?;
            self.file.write_at(&mut [IoSlice::new(&page)], *offset)?;
        }
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(false)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.unsynced.lock().push((offset, data.len()));
        self.file.write_at(&mut [IoSlice::new(data)], offset)
    }
}
