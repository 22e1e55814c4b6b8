//! The journal: the file that every batch is written to first, as one checksummed record.
//!
//! After a checkpoint the file is overwritten from its beginning: its blocks are already
//! allocated, so a sync has no metadata to write. Records are numbered without gaps, so a number
//! that does not continue the sequence belongs to an older record.

pub(super) mod entry;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::Bytes;

use self::{
    entry::Encoded,
    frame::{HEADER_LEN, Header, MAGIC},
};
use super::{
    StorageError,
    disk::{Disk, DiskFile},
};

/// The journal's file.
pub(crate) const FILE_NAME: &str = "journal";

/// The format that this version writes, and the newest that it reads.
const FORMAT: u64 = 1;

const FILE_MAGIC: &[u8; 16] = b"durable-streams\n";

/// The offset of the first record. The file's header has a page of its own.
const FIRST_RECORD: u64 = 4096;

/// The file grows by this many zeros at a time, so that few syncs have to write metadata.
const GROWTH_STEP: u64 = 256 * 1024;

/// A longer file, after a very large batch, is truncated when it is reused.
const MAX_IDLE_LEN: u64 = 16 * 1024 * 1024;

/// The bytes searched for an intact record after a damaged one.
const MAX_SEARCH: u64 = 64 * 1024 * 1024;

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: Arc<dyn DiskFile>,
    /// Part of every checksum, so that neither records of another store nor forged bytes from a
    /// client are valid.
    salt: u64,
    sync: bool,
    /// The offset of the next record.
    offset: u64,
    /// The end of what is written, records or zeros.
    written: u64,
    next_seq: u64,
    /// The checksum of the last record.
    last_crc: u32,
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
        new_salt: u64,
    ) -> Result<(Self, Vec<JournalRecord>), StorageError> {
        let io = |source| StorageError::Io {
            context: "opening the journal".to_owned(),
            source,
        };
        let file = disk.open(FILE_NAME).map_err(io)?;
        let len = file.len().map_err(io)?;
        let salt = if len < FIRST_RECORD {
            // New or never completed; nothing in it was acknowledged.
            if applied > 0 {
                return Err(StorageError::Corrupt("the journal is missing or truncated".to_owned()));
            }
            create(disk, &*file, new_salt).map_err(io)?;
            new_salt
        } else {
            read_header(&*file)?
        };
        let mut journal = Self {
            file,
            salt,
            sync,
            offset: FIRST_RECORD,
            written: len.max(FIRST_RECORD),
            next_seq: applied + 1,
            last_crc: 0,
        };
        let recovered = journal.recover(applied)?;
        Ok((journal, recovered))
    }

    /// The number of the last record.
    pub(super) fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// The length of its records.
    pub(super) fn len(&self) -> u64 {
        self.offset - FIRST_RECORD
    }

    /// How much the file has to grow for `len` more bytes.
    pub(super) fn growth(&self, len: u64) -> u64 {
        (self.offset + HEADER_LEN as u64 + len).saturating_sub(self.written)
    }

    /// Appends a record atomically: recovery discards a torn one.
    pub(super) fn append(&mut self, content: &Encoded) -> io::Result<()> {
        let header = Header::for_content(self.salt, self.next_seq, self.last_crc, content);
        let bytes = header.to_bytes();
        let mut buffers: Vec<IoSlice<'_>> = std::iter::once(bytes.as_slice())
            .chain(content.parts())
            .map(IoSlice::new)
            .collect();
        let end = self.offset + HEADER_LEN as u64 + header.len;
        let done = self
            .grow(end)
            .and_then(|()| self.file.write_at(&mut buffers, self.offset))
            .and_then(|()| if self.sync { self.file.sync() } else { Ok(()) });
        if let Err(error) = done {
            self.revoke_last();
            return Err(error);
        }
        self.offset = end;
        self.written = self.written.max(end);
        self.next_seq += 1;
        self.last_crc = header.crc;
        Ok(())
    }

    /// Checks that the disk accepts writes. redb has to be reopened after a failed write, which a
    /// read-only disk would refuse too, so this comes before any write to the index.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.file.write_at(&mut [IoSlice::new(&[0])], FIRST_RECORD - 1)
    }

    /// Starts over at the beginning, once the index has everything.
    pub(super) fn restart(&mut self) {
        self.offset = FIRST_RECORD;
        if self.written > MAX_IDLE_LEN && self.file.set_len(MAX_IDLE_LEN).is_ok() {
            self.written = MAX_IDLE_LEN;
        }
    }

    /// Writes zeros past the end, which allocates the blocks of the next records.
    fn grow(&mut self, end: u64) -> io::Result<()> {
        if end <= self.written {
            return Ok(());
        }
        let zeros = vec![0u8; usize::try_from(GROWTH_STEP).unwrap_or(0)];
        let target = end + GROWTH_STEP - end % GROWTH_STEP;
        while self.written < target {
            let left = usize::try_from(target - self.written).unwrap_or(usize::MAX);
            let part = zeros.get(..left.min(zeros.len())).unwrap_or_default();
            match self.file.write_at(&mut [IoSlice::new(part)], self.written) {
                Ok(()) => self.written += part.len() as u64,
                // The record itself may still fit.
                Err(_) if self.written + GROWTH_STEP > end => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Revokes a record whose write or sync failed, so that recovery does not replay it.
    ///
    /// This is best effort on a failing disk. The next record overwrites it and has its number.
    fn revoke_last(&self) {
        let zeros = [0u8; HEADER_LEN];
        if self.file.write_at(&mut [IoSlice::new(&zeros)], self.offset).is_ok() && self.sync {
            let _ = self.file.sync();
        }
    }

    /// Reads the records after `applied`.
    pub(super) fn read_after(&self, applied: u64) -> Result<Vec<JournalRecord>, StorageError> {
        let content = self.content(self.offset)?;
        let mut at = 0;
        let mut found = Vec::new();
        while let Some((header, record)) = Header::record_at(self.salt, &content, at) {
            at += HEADER_LEN + record.len();
            if header.seq > applied {
                found.push(JournalRecord {
                    seq: header.seq,
                    content: record,
                });
            }
        }
        Ok(found)
    }

    fn content(&self, end: u64) -> Result<Bytes, StorageError> {
        let mut content = vec![0u8; usize::try_from(end - FIRST_RECORD).unwrap_or(0)];
        let read = self.file.read_at(&mut content, FIRST_RECORD);
        read.map_err(|source| StorageError::Io {
            context: "reading the journal".to_owned(),
            source,
        })?;
        Ok(Bytes::from(content))
    }

    /// Reads the records after `applied` and moves to their end.
    fn recover(&mut self, applied: u64) -> Result<Vec<JournalRecord>, StorageError> {
        let content = self.content(self.written)?;
        let mut found = Vec::new();
        let mut at = 0usize;
        let mut last: Option<Header> = None;
        while let Some((header, record)) = Header::record_at(self.salt, &content, at) {
            match last {
                Some(last) if header.seq != last.seq + 1 || header.previous != last.crc => break,
                None if header.seq > applied + 1 => {
                    return Err(StorageError::Corrupt(format!(
                        "the journal begins with record {}, but the index ends with record {applied}",
                        header.seq
                    )));
                }
                _ => {}
            }
            at += HEADER_LEN + record.len();
            last = Some(header);
            if header.seq > applied {
                found.push(JournalRecord {
                    seq: header.seq,
                    content: record,
                });
            }
        }
        if let Some(newest) = found.last() {
            self.next_seq = newest.seq + 1;
            self.offset = FIRST_RECORD + at as u64;
            self.last_crc = last.map_or(0, |last| last.crc);
        } else {
            // Every record is already in the index: start over.
            at = 0;
        }
        self.check_end(&content, at)?;
        Ok(found)
    }

    /// Distinguishes a torn last record from damage: if an intact record follows, the damaged one
    /// before it was acknowledged.
    fn check_end(&self, content: &Bytes, at: usize) -> Result<(), StorageError> {
        let rest = content.get(at..).unwrap_or_default();
        // Client data may look like many headers of long records.
        let mut budget = MAX_SEARCH;
        for (offset, _) in rest
            .windows(MAGIC.len())
            .enumerate()
            .filter(|(_, window)| *window == MAGIC)
        {
            let Some(header) = Header::at(rest, offset).filter(|header| header.seq > self.next_seq) else {
                continue;
            };
            if header.len > (rest.len() - offset) as u64 {
                continue;
            }
            let Some(left) = budget.checked_sub(header.len) else {
                return Ok(());
            };
            budget = left;
            if Header::record_at(self.salt, content, at + offset).is_none() {
                continue;
            }
            let (missing, seq) = (self.next_seq, header.seq);
            if self.sync {
                return Err(StorageError::Corrupt(format!(
                    "record {missing} of the journal is damaged, record {seq} after it is intact"
                )));
            }
            tracing::warn!(missing, "the end of the journal was lost in a power failure");
            return Ok(());
        }
        Ok(())
    }
}

/// Replaces an unreadable journal with an empty one.
pub(crate) fn replace(disk: &dyn Disk, salt: u64) -> io::Result<()> {
    disk.remove(FILE_NAME)?;
    create(disk, &*disk.open(FILE_NAME)?, salt)
}

/// Writes the header of a new journal: magic, format, salt, and their checksum.
fn create(disk: &dyn Disk, file: &dyn DiskFile, salt: u64) -> io::Result<()> {
    let mut header = Vec::with_capacity(usize::try_from(FIRST_RECORD).unwrap_or(0));
    header.extend_from_slice(FILE_MAGIC);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(&salt.to_le_bytes());
    header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    header.resize(usize::try_from(FIRST_RECORD).unwrap_or(0), 0);
    file.write_at(&mut [IoSlice::new(&header)], 0)?;
    file.sync()?;
    disk.sync_dir("")
}

fn read_header(file: &dyn DiskFile) -> Result<u64, StorageError> {
    let mut header = [0u8; 36];
    file.read_at(&mut header, 0).map_err(|source| StorageError::Io {
        context: "reading the header of the journal".to_owned(),
        source,
    })?;
    parse_header(&header)
}

/// The salt.
fn parse_header(header: &[u8; 36]) -> Result<u64, StorageError> {
    let damaged = || StorageError::Corrupt("the header of the journal is invalid".to_owned());
    let (magic, rest) = header.split_first_chunk::<16>().ok_or_else(damaged)?;
    let (format, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (salt, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (crc, _) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    if magic != FILE_MAGIC {
        return Err(damaged());
    }
    let found = u64::from_le_bytes(*format);
    if found > FORMAT {
        return Err(StorageError::NewerFormat {
            found,
            supported: FORMAT,
        });
    }
    if crc32c::crc32c(header.get(..32).unwrap_or_default()) != u32::from_le_bytes(*crc) {
        return Err(damaged());
    }
    Ok(u64::from_le_bytes(*salt))
}
