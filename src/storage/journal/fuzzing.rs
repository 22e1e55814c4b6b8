//! The fuzz targets `records` and `journal`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    FILE_NAMES, Journal, JournalRecord,
    entry::{Encoded, VerbatimNames, decode},
};
use crate::storage::{
    Change, StorageError,
    disk::{Disk, DiskFile},
};

/// The offset of the first record.
const FIRST_RECORD: usize = 4096;

/// Uses the input as garbage after the header of a journal, and as records that are damaged after
/// they were written.
pub fn journal(data: &[u8]) {
    leftovers(data);
    damage(data);
}

/// Uses the input as the content of a record: what decodes must survive a round trip.
pub fn records(data: &[u8]) {
    let Ok(decoded) = decode(&Bytes::copy_from_slice(data), &mut VerbatimNames) else {
        return;
    };
    let encoded = Encoded::batch(&decoded.batch).unwrap();
    let again: Vec<u8> = encoded.parts().flatten().copied().collect();
    assert_eq!(again.len() as u64, encoded.len());
    let again = decode(&Bytes::from(again), &mut VerbatimNames).unwrap();
    assert_eq!(format!("{:?}", again.batch), format!("{:?}", decoded.batch));
}

/// Garbage where the first record belongs is not a record and can be overwritten.
fn leftovers(data: &[u8]) {
    let disk = Memory::default();
    open(&disk, true).unwrap();
    disk.first().0.lock().extend_from_slice(data);
    let (mut journal, found) = open(&disk, true).unwrap();
    assert!(found.is_empty());
    journal.append(&Encoded::batch(&[change(b"x")]).unwrap()).unwrap();
    let (_, found) = open(&disk, true).unwrap();
    assert_eq!(found.len(), 1);
}

/// The first three bytes say where and how to damage the journal; the others are records separated
/// by NULs. Recovery must find a prefix of them.
fn damage(data: &[u8]) {
    let [high, low, mask, rest @ ..] = data else { return };
    let disk = Memory::default();
    let (mut journal, _) = open(&disk, true).unwrap();
    let mut ends = vec![FIRST_RECORD];
    let written: Vec<&[u8]> = rest.split(|byte| *byte == 0).take(20).collect();
    for piece in &written {
        journal.append(&Encoded::batch(&[change(piece)]).unwrap()).unwrap();
        ends.push(FIRST_RECORD + usize::try_from(journal.len()).unwrap());
    }
    let end = ends[ends.len() - 1];
    let place = FIRST_RECORD + usize::from(u16::from_le_bytes([*high, *low])) % (end - FIRST_RECORD);
    {
        let file = disk.first();
        let mut file = file.0.lock();
        match mask {
            0 => file.truncate(place),
            mask => file[place] ^= mask,
        }
    }
    // The records before the damage.
    let intact = ends.iter().filter(|end| **end <= place).count() - 1;
    match open(&disk, true) {
        Ok((_, found)) => check_found(&found, &written[..intact]),
        Err(StorageError::Corrupt(_)) => assert!(*mask != 0 && intact + 1 < written.len()),
        Err(error) => panic!("{error}"),
    }
    let (_, found) = open(&disk, false).unwrap();
    check_found(&found, &written[..intact]);
}

pub(super) fn check_found(found: &[JournalRecord], written: &[&[u8]]) {
    assert_eq!(found.len(), written.len());
    for (found, written) in found.iter().zip(written) {
        let batch = decode(&found.content, &mut VerbatimNames).unwrap().batch;
        assert_eq!(format!("{batch:?}"), format!("{:?}", [change(written)]));
    }
}

pub(super) fn change(data: &[u8]) -> Change {
    Change::Append {
        id: 1,
        at: 0,
        data: vec![Bytes::copy_from_slice(data)],
    }
}

pub(super) fn open(disk: &Memory, sync: bool) -> Result<(Journal, Vec<JournalRecord>), StorageError> {
    Journal::open(disk, sync, 0, [7, 8])
}

/// A directory in memory.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<BTreeMap<String, Arc<File>>>);

impl Memory {
    pub(super) fn file(&self, path: &str) -> Arc<File> {
        Arc::clone(self.0.lock().entry(path.to_owned()).or_default())
    }

    /// The file that an empty journal begins in.
    fn first(&self) -> Arc<File> {
        let [first, _] = FILE_NAMES;
        self.file(first)
    }
}

#[derive(Debug, Default)]
pub(super) struct File(pub(super) Mutex<Vec<u8>>);

impl Disk for Memory {
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path))
    }

    fn exists(&self, path: &str) -> io::Result<bool> {
        Ok(self.0.lock().contains_key(path))
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }

    fn free(&self) -> Option<u64> {
        None
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let file = self.0.lock();
        let from = usize::try_from(offset).unwrap();
        let part = file.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn write_at(&self, pieces: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
        let mut file = self.0.lock();
        let mut at = usize::try_from(offset).unwrap();
        for piece in pieces.iter() {
            let end = at + piece.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[at..end].copy_from_slice(piece);
            at = end;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn punch_hole(&self, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }
}
