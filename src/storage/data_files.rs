//! Data files: one for each stream that has grown large.

use std::{
    hash::{BuildHasherDefault, DefaultHasher},
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

use super::disk::{Disk, DiskFile};
use crate::storage::{StreamId, segments::Segments};

/// Up to this many files are synced one by one, more with everything else.
const SYNC_EACH: usize = 8;

/// Ids are ours, so nobody makes them collide; and a test that is replayed does the same again.
type Hasher = BuildHasherDefault<DefaultHasher>;

/// The data files, a bounded number of them open.
#[derive(Debug)]
pub(super) struct DataFiles {
    disk: Arc<dyn Disk>,
    open: Cache<StreamId, Arc<dyn DiskFile>, UnitWeighter, Hasher>,
    /// Whether that was said.
    cannot_give_back: AtomicBool,
}

impl DataFiles {
    pub(super) fn new(disk: Arc<dyn Disk>, max_open: usize) -> Self {
        let max_open = max_open.max(1);
        Self {
            disk,
            cannot_give_back: AtomicBool::new(false),
            open: Cache::with(
                max_open,
                max_open as u64,
                UnitWeighter,
                Hasher::default(),
                DefaultLifecycle::default(),
            ),
        }
    }

    /// A file to be written, which is made when it is missing.
    fn file(&self, id: StreamId) -> io::Result<Arc<dyn DiskFile>> {
        self.open.get_or_insert_with(&id, || self.disk.open(&path(id)))
    }

    /// A file that should be there.
    fn existing(&self, id: StreamId) -> io::Result<Arc<dyn DiskFile>> {
        self.open.get_or_insert_with(&id, || {
            let path = path(id);
            match self.disk.exists(&path)? {
                true => self.disk.open(&path),
                false => Err(io::ErrorKind::NotFound.into()),
            }
        })
    }

    pub(super) fn read(&self, id: StreamId, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.existing(id)?.read_at(out, offset)
    }

    /// Writes bytes at an offset. They are not on disk before [`Self::sync`].
    pub(super) fn write(&self, id: StreamId, offset: u64, bytes: &Segments) -> io::Result<()> {
        let mut pieces: Vec<IoSlice<'_>> = bytes.pieces().map(IoSlice::new).collect();
        self.file(id)?.write_at(&mut pieces, offset)
    }

    /// Makes files durable, and the names of those that are new.
    pub(super) fn sync(&self, written: &[StreamId], new: &[StreamId]) -> io::Result<()> {
        if written.len() <= SYNC_EACH || !self.synced_at_once()? {
            for id in written {
                self.file(*id)?.sync()?;
            }
        }
        let mut directories: Vec<String> = new.iter().map(|id| directory(*id)).collect();
        directories.sort_unstable();
        directories.dedup();
        for directory in &directories {
            self.disk.sync_dir(directory)?;
        }
        if !directories.is_empty() {
            self.disk.sync_dir(ROOT)?;
            self.disk.sync_dir("")?;
        }
        Ok(())
    }

    /// Makes all files durable in one call, where the system can.
    fn synced_at_once(&self) -> io::Result<bool> {
        match self.disk.sync_all() {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// How long a file is; `None` when it is missing.
    pub(super) fn len(&self, id: StreamId) -> io::Result<Option<u64>> {
        if !self.disk.exists(&path(id))? {
            return Ok(None);
        }
        self.existing(id)?.len().map(Some)
    }

    /// How long a file is that should have `len` bytes and has fewer.
    pub(super) fn is_short(&self, id: StreamId, len: u64) -> io::Result<Option<u64>> {
        let found = self.len(id)?.unwrap_or(0);
        Ok((found < len).then_some(found))
    }

    /// The files that there are, by their paths.
    pub(super) fn all(&self) -> io::Result<Vec<String>> {
        let mut paths = Vec::new();
        for directory in self.disk.list(ROOT)? {
            let directory = format!("{ROOT}/{directory}");
            let names = self.disk.list(&directory)?;
            paths.extend(names.into_iter().map(|name| format!("{directory}/{name}")));
        }
        Ok(paths)
    }

    /// Gives the space of a file's first `len` bytes back. Where the file system cannot, it is
    /// given back with the stream.
    pub(super) fn give_back(&self, id: StreamId, len: u64) -> io::Result<()> {
        let given = self.existing(id).and_then(|file| file.give_back(0, len));
        match given {
            // Nothing to give back of one that is lost.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported) => {
                if !self.cannot_give_back.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "this file system cannot give back parts of files: what retention cuts off a large \
                         stream takes up space until the stream is deleted, or the data directory is copied with \
                         `storage migrate`"
                    );
                }
                Ok(())
            }
            done => done,
        }
    }

    pub(super) fn remove(&self, id: StreamId) -> io::Result<()> {
        self.open.remove(&id);
        self.disk.remove(&path(id))
    }
}

const ROOT: &str = "data";

fn directory(id: StreamId) -> String {
    format!("{ROOT}/{:02x}", id & 0xff)
}

pub(super) fn path(id: StreamId) -> String {
    format!("{}/{id:016x}", directory(id))
}
