//! A directory whose changes stay in memory.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

use crate::storage::disk::{Directory, Disk, DiskFile};

const PAGE: usize = 4096;

/// With more open files than this, unused ones are closed.
const MAX_OPEN: usize = 128;

/// A directory and a layer of changes that are never written to it.
#[derive(Debug)]
pub(super) struct Overlay {
    directory: Directory,
    files: Mutex<BTreeMap<String, Entry>>,
}

/// A path that was opened or removed.
#[derive(Debug)]
enum Entry {
    File(Arc<OverlayFile>),
    Removed,
}

impl Overlay {
    pub(super) fn on(root: &Path) -> Self {
        Self {
            directory: Directory::existing(root),
            files: Mutex::default(),
        }
    }
}

impl Disk for Overlay {
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock();
        if files.len() > MAX_OPEN {
            files.retain(|_, entry| match entry {
                Entry::File(file) => file.must_stay(),
                Entry::Removed => true,
            });
        }
        let below = match files.get(path) {
            Some(Entry::File(file)) => return Ok(Arc::clone(file) as Arc<dyn DiskFile>),
            Some(Entry::Removed) => None,
            None => self.directory.open_to_read(path)?,
        };
        let len = below
            .as_ref()
            .map_or(Ok(0), |file| file.metadata().map(|data| data.len()))?;
        let file = Arc::new(OverlayFile {
            origin: below.is_some().then(|| path.to_owned()),
            directory: self.directory.clone(),
            state: Mutex::new(State {
                changed: below.is_none(),
                below,
                len,
                below_len: len,
                pages: HashMap::new(),
            }),
        });
        files.insert(path.to_owned(), Entry::File(Arc::clone(&file)));
        Ok(file)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        match self.files.lock().get(path) {
            Some(entry) => Ok(matches!(entry, Entry::File(_))),
            None => self.directory.exists(path),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.files.lock().insert(path.to_owned(), Entry::Removed);
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let files = self.files.lock();
        let mut names = self.directory.list(path)?;
        names.retain(|name| !matches!(files.get(&format!("{path}/{name}")), Some(Entry::Removed)));
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.open(from)?;
        let mut files = self.files.lock();
        if let Some(entry) = files.insert(from.to_owned(), Entry::Removed) {
            if let Entry::File(file) = &entry {
                file.state.lock().changed = true;
            }
            files.insert(to.to_owned(), entry);
        }
        Ok(())
    }

    fn sync_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn free(&self) -> Option<u64> {
        None
    }
}

#[derive(Debug)]
struct OverlayFile {
    /// The file below, if there is one.
    origin: Option<String>,
    directory: Directory,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The file below while it is open.
    below: Option<File>,
    len: u64,
    /// The length of the file below that is still visible.
    below_len: u64,
    pages: HashMap<u64, Box<[u8; PAGE]>>,
    /// Whether it differs from the file below.
    changed: bool,
}

impl OverlayFile {
    /// Whether it must be kept: it is in use or changed. An unused file closes its descriptor.
    fn must_stay(self: &Arc<Self>) -> bool {
        if Arc::strong_count(self) > 1 {
            return true;
        }
        let mut state = self.state.lock();
        state.below = None;
        state.changed
    }

    /// Opens the file below if necessary.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        if let (None, Some(origin)) = (&state.below, &self.origin) {
            state.below = self.directory.open_to_read(origin)?;
        }
        Ok(state)
    }

    /// Calls `visit` for every page of a range with its number, the range inside the page, and the range
    /// inside the buffer.
    fn pages(
        offset: u64,
        len: usize,
        mut visit: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let from = usize::try_from(at % PAGE as u64).unwrap_or(0);
            let part = (PAGE - from).min(len - done);
            visit(at / PAGE as u64, from..from + part, done..done + part)?;
            done += part;
        }
        Ok(())
    }
}

impl State {
    /// Reads a page of the file below.
    fn below(&self, number: u64, page: &mut [u8; PAGE]) -> io::Result<()> {
        let start = number * PAGE as u64;
        let len = usize::try_from(self.below_len.saturating_sub(start)).map_or(PAGE, |len| len.min(PAGE));
        if let (Some(file), Some(part)) = (&self.below, page.get_mut(..len)) {
            file.read_exact_at(part, start)?;
        }
        Ok(())
    }
}

impl DiskFile for OverlayFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state.lock().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        state.pages.retain(|number, _| number * (PAGE as u64) < len);
        let rest = usize::try_from(len % PAGE as u64).unwrap_or(0);
        if let Some(page) = state.pages.get_mut(&(len / PAGE as u64)) {
            page.iter_mut().skip(rest).for_each(|byte| *byte = 0);
        }
        state.below_len = state.below_len.min(len);
        state.len = len;
        state.changed = true;
        Ok(())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state()?;
        if offset + out.len() as u64 > state.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = out.len();
        Self::pages(offset, len, |number, inside, outside| {
            let mut fresh = [0; PAGE];
            let page = match state.pages.get(&number) {
                Some(page) => page,
                None => {
                    state.below(number, &mut fresh)?;
                    &fresh
                }
            };
            if let (Some(to), Some(from)) = (out.get_mut(outside), page.get(inside)) {
                to.copy_from_slice(from);
            }
            Ok(())
        })
    }

    fn write_at(&self, buffers: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.changed = true;
        let mut at = offset;
        for buffer in buffers {
            Self::pages(at, buffer.len(), |number, inside, outside| {
                if !state.pages.contains_key(&number) {
                    let mut fresh = Box::new([0; PAGE]);
                    state.below(number, &mut fresh)?;
                    state.pages.insert(number, fresh);
                }
                let page = state.pages.get_mut(&number).and_then(|page| page.get_mut(inside));
                if let (Some(to), Some(from)) = (page, buffer.get(outside)) {
                    to.copy_from_slice(from);
                }
                Ok(())
            })?;
            at += buffer.len() as u64;
            state.len = state.len.max(at);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// Reads as unchanged.
    fn punch_hole(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}
