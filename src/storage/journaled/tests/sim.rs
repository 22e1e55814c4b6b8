//! A disk that fails on command, and power failures that keep, tear or lose unsynced writes.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    ops::Range,
    sync::Arc,
};

use parking_lot::{Mutex, MutexGuard};

use super::sim_file::{BLOCK, Luck, Op, SimFile, write_into};
use crate::storage::{
    contract::Driver,
    disk::{Disk, DiskFile},
    index,
};

/// Failure rates: one in this many operations; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) write: u64,
    pub(super) full: u64,
    pub(super) sync: u64,
    pub(super) read: u64,
    /// Syncs report success and do nothing.
    pub(super) lying: bool,
    /// Writes are refused, as after a read-only remount.
    pub(super) read_only: bool,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<String, SimFile>,
    removed: Vec<(u64, String, SimFile)>,
    /// Renames (from, to) that are not durable.
    renamed: Vec<(String, String)>,
    rng: Driver,
    faults: Faults,
    /// The number of operations so far.
    operations: u64,
    /// The operations left until the power fails.
    power: Option<u64>,
    /// Operations with these numbers fail.
    outage: Range<u64>,
    /// The capacity for all files together.
    capacity: usize,
}

/// The disk, as one process sees it. Clones share its state.
#[derive(Debug, Clone)]
pub(super) struct SimDisk {
    state: Arc<Mutex<State>>,
    /// The operations left until this process is killed.
    life: Arc<Mutex<Option<u64>>>,
    /// A sync of the index waits while this is locked.
    index_sync: Arc<Mutex<()>>,
}

impl SimDisk {
    pub(super) fn new(seed: u64) -> Self {
        let state = State {
            files: BTreeMap::new(),
            removed: Vec::new(),
            renamed: Vec::new(),
            rng: Driver::new(seed ^ 0xD15C),
            faults: Faults::default(),
            operations: 0,
            power: None,
            outage: 0..0,
            capacity: usize::MAX,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            life: Arc::default(),
            index_sync: Arc::default(),
        }
    }

    /// The same disk for another process.
    pub(super) fn process(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            life: Arc::default(),
            index_sync: Arc::clone(&self.index_sync),
        }
    }

    /// Kills this process after this many more operations. What it has written is there for the
    /// next process, synced or not.
    pub(super) fn kill_after(&self, operations: u64) {
        *self.life.lock() = Some(operations);
    }

    fn is_killed(&self) -> bool {
        *self.life.lock() == Some(0)
    }

    /// Begins an operation.
    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        match &mut *self.life.lock() {
            Some(0) => return Err(killed()),
            Some(left) => *left -= 1,
            None => {}
        }
        let mut state = self.state.lock();
        state.step()?;
        Ok(state)
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    pub(super) fn set_capacity(&self, capacity: usize) {
        self.state.lock().capacity = capacity;
    }

    pub(super) fn used(&self) -> usize {
        self.state.lock().used()
    }

    /// Has that many operations fail, after this many more.
    pub(super) fn fail_after(&self, operations: u64, count: u64) {
        let mut state = self.state.lock();
        let first = state.operations + 1 + operations;
        state.outage = first..first + count;
    }

    /// Whether the failures of [`Self::fail_after`] have begun.
    pub(super) fn has_failed(&self) -> bool {
        let state = self.state.lock();
        state.operations >= state.outage.start
    }

    /// Holds every sync of the index up until the result is dropped.
    pub(super) fn hold_index_syncs(&self) -> impl Sized + '_ {
        self.index_sync.lock()
    }

    /// Makes the power fail after this many more operations.
    pub(super) fn cut_power_after(&self, operations: u64) {
        self.state.lock().power = Some(operations);
    }

    pub(super) fn is_down(&self) -> bool {
        self.is_killed() || self.state.lock().power == Some(0)
    }

    /// Restarts after a power failure, which has kept, torn or lost each unsynced operation.
    pub(super) fn reboot(&self) {
        let mut state = self.state.lock();
        let State {
            files,
            removed,
            renamed,
            rng,
            faults,
            operations,
            ..
        } = &mut *state;
        // A disk that ignores syncs keeps the order: everything after some operation is lost.
        let cut = faults.lying.then(|| 1 + rng.below(*operations));
        for (from, to) in renamed.drain(..).rev() {
            if rng.below(2) == 0
                && let Some(file) = files.remove(&to)
            {
                files.insert(from, file);
            }
        }
        for (number, path, file) in std::mem::take(removed) {
            let back = cut.map_or_else(|| rng.below(2) == 0, |cut| number >= cut);
            if file.linked && back {
                files.entry(path).or_insert(file);
            }
        }
        let names: Vec<String> = files.keys().cloned().collect();
        for name in names {
            let Some(file) = files.get_mut(&name) else { continue };
            let gone = cut.map_or_else(|| rng.below(2) == 0, |cut| file.created >= cut);
            if !file.linked && gone {
                files.remove(&name);
                continue;
            }
            let mood = rng.below(4);
            for (number, op) in std::mem::take(&mut file.pending) {
                let luck = match (cut, mood) {
                    (Some(cut), _) if number < cut => Luck::Kept,
                    (Some(cut), _) if number == cut => Luck::Torn,
                    (Some(_), _) | (None, 0) => Luck::Gone,
                    (None, 1) => Luck::Kept,
                    (None, _) => Luck::draw(rng),
                };
                file.reach_disk(op, luck, rng);
            }
            file.cache = file.disk.clone();
            file.linked = true;
        }
        state.power = None;
        state.faults = Faults::default();
    }

    /// Flips one bit on the disk.
    pub(super) fn flip_bit(&self, path: &str, offset: usize, bit: u8) {
        let mut state = self.state.lock();
        let file = state.files.get_mut(path).unwrap();
        file.disk[offset] ^= 1 << bit;
        file.cache[offset] ^= 1 << bit;
    }

    pub(super) fn contents(&self, path: &str) -> Vec<u8> {
        self.state.lock().files[path].cache.clone()
    }
}

fn killed() -> io::Error {
    io::Error::other("the process was killed")
}

fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl State {
    /// Counts an operation; fails if the power is off.
    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.faults.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        if self.outage.contains(&self.operations) {
            return Err(input_output_error());
        }
        match &mut self.power {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn fails(&mut self, once_in: u64) -> bool {
        once_in > 0 && self.rng.below(once_in) == 0
    }

    fn used(&self) -> usize {
        self.files.values().map(|file| file.blocks.len() * BLOCK).sum()
    }

    fn file(&mut self, path: &str) -> io::Result<&mut SimFile> {
        self.files.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let is_opened_for_reading = {
            let state = self.state.lock();
            state.faults.read_only && state.files.contains_key(path)
        };
        let mut state = match is_opened_for_reading {
            true => self.state.lock(),
            false => self.step()?,
        };
        let created = state.operations;
        state.files.entry(path.to_owned()).or_insert_with(|| SimFile {
            created,
            ..SimFile::default()
        });
        Ok(Arc::new(SimHandle {
            disk: self.clone(),
            path: path.to_owned(),
        }))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(self.state.lock().files.contains_key(path))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.step()?;
        let number = state.operations;
        if let Some(file) = state.files.remove(path) {
            state.removed.push((number, path.to_owned(), file));
        }
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        let inside = state
            .files
            .keys()
            .filter_map(|name| name.strip_prefix(path)?.strip_prefix('/'));
        Ok(inside.map(str::to_owned).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.step()?;
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), file);
        state.renamed.push((from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.step()?;
        let once_in = state.faults.sync;
        if state.fails(once_in) {
            return Err(input_output_error());
        }
        if state.faults.lying {
            return Ok(());
        }
        let inside = |name: &str| name.rsplit_once('/').map_or("", |(directory, _)| directory) == path;
        for (name, file) in &mut state.files {
            file.linked |= inside(name);
        }
        state.removed.retain(|(_, name, _)| !inside(name));
        state.renamed.retain(|(_, name)| !inside(name));
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        let paths: Vec<String> = self.state.lock().files.keys().cloned().collect();
        for path in paths {
            self.sync_file(&path)?;
        }
        Ok(())
    }

    fn free(&self) -> Option<u64> {
        let state = self.state.lock();
        (state.capacity != usize::MAX).then(|| state.capacity.saturating_sub(state.used()) as u64)
    }
}

impl SimDisk {
    fn sync_file(&self, path: &str) -> io::Result<()> {
        if self.state.lock().faults.read_only {
            return Ok(());
        }
        if path == index::FILE_NAME {
            drop(self.index_sync.lock());
        }
        let mut state = self.step()?;
        let (once_in, lying) = (state.faults.sync, state.faults.lying);
        let failed = state.fails(once_in);
        let State { files, rng, .. } = &mut *state;
        let file = files.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        if lying && !failed {
            return Ok(());
        }
        for (_, op) in std::mem::take(&mut file.pending) {
            // A failed sync writes some operations and treats all of them as done.
            let luck = if failed { Luck::draw(rng) } else { Luck::Kept };
            file.reach_disk(op, luck, rng);
        }
        if failed { Err(input_output_error()) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct SimHandle {
    disk: SimDisk,
    path: String,
}

impl DiskFile for SimHandle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().file(&self.path)?.cache.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.step()?;
        let len = len as usize;
        let number = state.operations;
        let file = state.file(&self.path)?;
        file.blocks.retain(|block| block * BLOCK < len);
        file.cache.resize(len, 0);
        file.pending.push((number, Op::SetLen(len)));
        Ok(())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        if self.disk.is_killed() {
            return Err(killed());
        }
        let mut state = self.disk.state.lock();
        if state.power == Some(0) {
            return Err(io::Error::other("the power is off"));
        }
        let once_in = state.faults.read;
        if state.fails(once_in) {
            return Err(input_output_error());
        }
        let at = offset as usize;
        let file = state.file(&self.path)?;
        let part = file.cache.get(at..at + out.len());
        out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut data: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let mut state = self.disk.step()?;
        let (write, full) = (state.faults.write, state.faults.full);
        let mut outcome = if state.power == Some(0) {
            Err(io::Error::other("the power is off"))
        } else if self.disk.is_killed() {
            Err(killed())
        } else if state.fails(write) {
            Err(input_output_error())
        } else if state.fails(full) {
            Err(no_space())
        } else {
            Ok(())
        };
        if outcome.is_err() {
            // A short write.
            let kept = state.rng.below(data.len() as u64 + 1) as usize;
            data.truncate(kept);
        }
        let at = offset as usize;
        let (used, capacity, number) = (state.used(), state.capacity, state.operations);
        let file = state.file(&self.path)?;
        if used + BLOCK * file.new_blocks(at, data.len()) > capacity {
            let kept = (0..data.len()).step_by(BLOCK);
            let kept = kept
                .take_while(|len| used + BLOCK * file.new_blocks(at, *len) <= capacity)
                .last();
            data.truncate(kept.unwrap_or(0));
            outcome = Err(no_space());
        }
        file.blocks.extend(at / BLOCK..(at + data.len()).div_ceil(BLOCK));
        write_into(&mut file.cache, at, &data);
        file.pending.push((number, Op::Write(at, data)));
        outcome
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_file(&self.path)
    }

    fn punch_hole(&self, offset: u64, len: u64) -> io::Result<()> {
        let mut state = self.disk.step()?;
        let (at, number) = (offset as usize, state.operations);
        let file = state.file(&self.path)?;
        let zeros = vec![0; len as usize];
        let whole = at.div_ceil(BLOCK)..(at + zeros.len()) / BLOCK;
        file.blocks.retain(|block| !whole.contains(block));
        write_into(&mut file.cache, at, &zeros);
        file.pending.push((number, Op::Write(at, zeros)));
        Ok(())
    }
}
