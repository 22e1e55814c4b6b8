//! A directory that is read, and changed in memory only.

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

/// So many files are kept at hand before those that nobody uses are let go.
const MAX_KEPT: usize = 128;

/// A directory under a layer of changes that are never written to it.
#[derive(Debug)]
pub(super) struct Overlay {
    directory: Directory,
    /// Opened files; `None`: removed.
    files: Mutex<BTreeMap<String, Option<Arc<OverlayFile>>>>,
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
        if files.len() > MAX_KEPT {
            files.retain(|_, file| file.as_ref().is_none_or(OverlayFile::stays));
        }
        if let Some(Some(file)) = files.get(path) {
            return Ok(Arc::clone(file) as Arc<dyn DiskFile>);
        }
        let below = match files.get(path) {
            Some(None) => None,
            _ => self.directory.open_to_read(path)?,
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
        files.insert(path.to_owned(), Some(Arc::clone(&file)));
        Ok(file)
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        match self.files.lock().get(path) {
            Some(file) => Ok(file.is_some()),
            None => self.directory.exists(path),
        }
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.files.lock().insert(path.to_owned(), None);
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let files = self.files.lock();
        let mut names = self.directory.list(path)?;
        names.retain(|name| !matches!(files.get(&format!("{path}/{name}")), Some(None)));
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.open(from)?;
        let mut files = self.files.lock();
        let file = files.insert(from.to_owned(), None).flatten();
        if let Some(file) = &file {
            file.state.lock().changed = true;
        }
        files.insert(to.to_owned(), file);
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
    /// How much of the file below still counts.
    below_len: u64,
    pages: HashMap<u64, Box<[u8; PAGE]>>,
    /// Whether it is other than what its name says below.
    changed: bool,
}

impl OverlayFile {
    /// Whether it must be kept. If nobody uses it, it gives back its descriptor.
    fn stays(self: &Arc<Self>) -> bool {
        if Arc::strong_count(self) > 1 {
            return true;
        }
        let mut state = self.state.lock();
        state.below = None;
        state.changed
    }

    /// Sees to it that the file below is open, if there is one.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        if let (None, Some(origin)) = (&state.below, &self.origin) {
            state.below = self.directory.open_to_read(origin)?;
        }
        Ok(state)
    }

    /// Calls `visit` for every page that a range touches: its number, and which part of it.
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
    /// A page as it is below.
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

    fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.changed = true;
        let mut at = offset;
        for piece in pieces {
            Self::pages(at, piece.len(), |number, inside, outside| {
                if !state.pages.contains_key(&number) {
                    let mut fresh = Box::new([0; PAGE]);
                    state.below(number, &mut fresh)?;
                    state.pages.insert(number, fresh);
                }
                let page = state.pages.get_mut(&number).and_then(|page| page.get_mut(inside));
                if let (Some(to), Some(from)) = (page, piece.get(outside)) {
                    to.copy_from_slice(from);
                }
                Ok(())
            })?;
            at += piece.len() as u64;
            state.len = state.len.max(at);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// What lies below is not to be changed.
    fn punch_hole(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}
