//! The index's file, as redb wants it.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::storage::disk::DiskFile;

/// What was written to a file and not yet synced: offsets and lengths. It outlives a database
/// that had to be opened anew.
pub(crate) type Unsynced = Arc<Mutex<Vec<(u64, usize)>>>;

/// A file that tries again when a sync fails.
///
/// After a failed sync Linux takes the pages for clean, lost or not: the next sync succeeds
/// without having written them. So they are written again from what the cache has, and only
/// then is success believed. (The data directory's lock keeps others out, so this has none.)
#[derive(Debug)]
pub(super) struct Backend {
    file: Arc<dyn DiskFile>,
    unsynced: Unsynced,
}

impl Backend {
    pub(super) fn new(file: Arc<dyn DiskFile>, unsynced: Unsynced) -> io::Result<Self> {
        let backend = Self { file, unsynced };
        // What is read from here on is to be what is there after a power loss.
        backend.sync(true)?;
        Ok(backend)
    }

    fn sync(&self, again: bool) -> io::Result<()> {
        let mut unsynced = self.unsynced.lock();
        if again || self.file.sync().is_err() {
            self.write_again(&unsynced)?;
            self.file.sync()?;
        }
        unsynced.clear();
        Ok(())
    }

    fn write_again(&self, written: &[(u64, usize)]) -> io::Result<()> {
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
