//! The index's file, as redb wants it.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::storage::journaled::disk::DiskFile;

/// A file that tries again when a sync fails.
///
/// After a failed sync Linux takes the pages for clean, lost or not: the next sync succeeds
/// without having written them. So they are written again from what the cache has, and only
/// then is success believed. (The data directory's lock keeps others out, so this has none.)
#[derive(Debug)]
pub(super) struct Backend {
    file: Arc<dyn DiskFile>,
    unsynced: Mutex<Vec<(u64, usize)>>,
}

impl Backend {
    pub(super) fn new(file: Arc<dyn DiskFile>) -> io::Result<Self> {
        // What is read from here on is to be what is there after a power loss.
        file.sync()?;
        Ok(Self {
            file,
            unsynced: Mutex::default(),
        })
    }

    fn write_again(&self, written: &[(u64, usize)]) -> io::Result<()> {
        let len = self.file.len()?;
        let mut page = Vec::new();
        for (offset, size) in written {
            let size = usize::try_from(len.saturating_sub(*offset)).map_or(*size, |left| left.min(*size));
            page.resize(size, 0);
            self.file.read_at(&mut page, *offset)?;
            self.file.write_at(&mut [IoSlice::new(&page)], *offset)?;
        }
        self.file.sync()
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
        let written = std::mem::take(&mut *self.unsynced.lock());
        self.file.sync().or_else(|_| self.write_again(&written))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.unsynced.lock().push((offset, data.len()));
        self.file.write_at(&mut [IoSlice::new(data)], offset)
    }
}
