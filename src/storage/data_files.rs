//! Data files: one for each large stream.

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

/// More files than this are synced by one call for the whole file system.
const MAX_SINGLE_SYNCS: usize = 8;

/// Not randomized: clients cannot choose ids, and replayed tests evict the same files.
type Hasher = BuildHasherDefault<DefaultHasher>;

/// The data files, a bounded number of them open.
#[derive(Debug)]
pub(super) struct DataFiles {
    disk: Arc<dyn Disk>,
    open: Cache<StreamId, Arc<dyn DiskFile>, UnitWeighter, Hasher>,
    /// Set once the warning is logged.
    holes_unsupported: AtomicBool,
}

impl DataFiles {
    pub(super) fn new(disk: Arc<dyn Disk>, max_open: usize) -> Self {
        let max_open = max_open.max(1);
        Self {
            disk,
            holes_unsupported: AtomicBool::new(false),
            open: Cache::with(
                max_open,
                max_open as u64,
                UnitWeighter,
                Hasher::default(),
                DefaultLifecycle::default(),
            ),
        }
    }

    /// A file to write to, created if necessary.
    fn create(&self, id: StreamId) -> io::Result<Arc<dyn DiskFile>> {
        self.open.get_or_insert_with(&id, || self.disk.open(&path(id)))
    }

    /// A file that must exist.
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

    /// Writes bytes at an offset. They are durable after [`Self::sync`].
    pub(super) fn write(&self, id: StreamId, offset: u64, bytes: &Segments) -> io::Result<()> {
        let mut buffers: Vec<IoSlice<'_>> = bytes.chunks().map(IoSlice::new).collect();
        self.create(id)?.write_at(&mut buffers, offset)
    }

    /// Makes the written files and the names of the new ones durable.
    pub(super) fn sync(&self, written: &[StreamId], new: &[StreamId]) -> io::Result<()> {
        if written.len() <= MAX_SINGLE_SYNCS || !self.sync_all()? {
            for id in written {
                self.create(*id)?.sync()?;
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

    /// Syncs all files in one call; `false` if the system has no such call.
    fn sync_all(&self) -> io::Result<bool> {
        match self.disk.sync_all() {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// The length of a file; `None` if it is missing.
    pub(super) fn len(&self, id: StreamId) -> io::Result<Option<u64>> {
        if !self.disk.exists(&path(id))? {
            return Ok(None);
        }
        self.existing(id)?.len().map(Some)
    }

    /// The length of a file if it is less than `len`.
    pub(super) fn shorter_than(&self, id: StreamId, len: u64) -> io::Result<Option<u64>> {
        let found = self.len(id)?.unwrap_or(0);
        Ok((found < len).then_some(found))
    }

    /// The paths of all files.
    pub(super) fn paths(&self) -> io::Result<Vec<String>> {
        let mut paths = Vec::new();
        for directory in self.disk.list(ROOT)? {
            let directory = format!("{ROOT}/{directory}");
            let names = self.disk.list(&directory)?;
            paths.extend(names.into_iter().map(|name| format!("{directory}/{name}")));
        }
        Ok(paths)
    }

    /// Frees the space of a file's first `len` bytes. If the file system does not support that,
    /// the space is freed with the stream.
    pub(super) fn free_front(&self, id: StreamId, len: u64) -> io::Result<()> {
        match self.existing(id).and_then(|file| file.punch_hole(0, len)) {
            // The file is lost; there is nothing to free.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported) => {
                if !self.holes_unsupported.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "this file system cannot free parts of a file: data that retention trims from a large stream \
                         takes up space until the stream is deleted or the data directory is copied with \
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
