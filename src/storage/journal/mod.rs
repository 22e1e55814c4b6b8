//! The journal: every batch is written to it first, as one checksummed record.
//!
//! It has two files. When a checkpoint begins, the next records go to the other file: one has the
//! records that the checkpoint writes, the other has later ones. Once the index has all records of a
//! file, the file is overwritten from its beginning: its blocks are already allocated, so a sync has
//! no metadata to write. Records are numbered without gaps, so a number that does not continue the
//! sequence belongs to an older record.

pub(super) mod entry;
mod file;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod recovery;
#[cfg(test)]
mod tests;

use std::io;

use bytes::Bytes;

pub(crate) use self::file::replace;
use self::{
    entry::Encoded,
    file::JournalFile,
    frame::Header,
    recovery::{Recovered, recover},
};
use super::{StorageError, disk::Disk};

/// The files of the journal.
pub(crate) const FILE_NAMES: [&str; 2] = ["journal", "journal.2"];

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    /// The file that is written to.
    current: JournalFile,
    /// Older records, or only those that the index has.
    other: JournalFile,
    sync: bool,
    next_seq: u64,
    /// The checksum of the last record.
    last_crc: u32,
    /// The length of the records in the current file that belong to an older table.
    older_len: u64,
}

/// A record that is not in the index.
#[derive(Debug)]
pub(super) struct JournalRecord {
    pub(super) seq: u64,
    pub(super) content: Bytes,
}

impl Journal {
    /// Opens or creates the journal and returns the records after `applied`.
    pub(super) fn open(
        disk: &dyn Disk,
        sync: bool,
        applied: u64,
        new_salts: [u64; 2],
    ) -> Result<(Self, Vec<JournalRecord>), StorageError> {
        let mut files = JournalFile::open_all(disk, applied, new_salts)?;
        let Recovered {
            records,
            current,
            next_seq,
            last_crc,
        } = recover(&mut files, applied, sync)?;
        let [first, second] = files;
        let (current, other) = if current == 0 { (first, second) } else { (second, first) };
        let journal = Self {
            current,
            other,
            sync,
            next_seq,
            last_crc,
            older_len: 0,
        };
        Ok((journal, records))
    }

    /// The number of the last record.
    pub(super) fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// The length of the records of the newest table.
    pub(super) fn len(&self) -> u64 {
        self.current.len() - self.older_len
    }

    /// How much the current file has to grow for `len` more bytes.
    pub(super) fn growth(&self, len: u64) -> u64 {
        self.current.growth(len)
    }

    /// Appends a record atomically: recovery discards a torn one.
    pub(super) fn append(&mut self, content: &Encoded) -> io::Result<()> {
        let header = Header::for_content(self.current.salt, self.next_seq, self.last_crc, content);
        self.current.append(&header, content, self.sync)?;
        self.next_seq += 1;
        self.last_crc = header.crc;
        Ok(())
    }

    /// Checks that the disk accepts writes. redb has to be reopened after a failed write, which a
    /// read-only disk would refuse too, so this comes before any write to the index.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.current.probe()
    }

    /// Begins a table. Its records go to the other file, if the index, which ends with record
    /// `applied`, has everything that is in there.
    pub(super) fn begin_table(&mut self, applied: u64) {
        if self.other.last_seq <= applied {
            self.other.restart();
            std::mem::swap(&mut self.current, &mut self.other);
        }
        self.older_len = self.current.len();
    }
}
