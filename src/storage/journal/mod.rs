//! The journal: one file that every batch is written to first, whole and with a checksum.
//!
//! The file is written over from its beginning each time that what it holds has reached the
//! index, so that its blocks are the disk's already and a sync has no metadata to write.
//! Records are numbered without gaps; a number that does not continue is one from before.

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
    frame::{HEAD, Head, MAGIC},
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

/// Where the first record begins: a page of its own for the file's head.
const FIRST_RECORD: u64 = 4096;

/// The file grows in steps of this much, written with zeros, so that few syncs pay for growth.
const GROW: u64 = 256 * 1024;

/// A file that has become longer than this, by a very large batch, is cut when it is reused.
const KEEP: u64 = 16 * 1024 * 1024;

/// How much is looked through for a record behind a damaged one.
const MAX_SEARCH: u64 = 64 * 1024 * 1024;

/// The open journal.
#[derive(Debug)]
pub(super) struct Journal {
    file: Arc<dyn DiskFile>,
    /// Mixed into every checksum: neither another store's record nor bytes that a client made
    /// up to look like one are taken for ours.
    salt: u64,
    sync: bool,
    /// Where the next record goes.
    offset: u64,
    /// How far the file is written, with records or zeros.
    written: u64,
    next_seq: u64,
    /// The checksum of the last record.
    last_crc: u32,
}

/// A record that the index does not know of yet.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) seq: u64,
    pub(super) content: Bytes,
}

impl Journal {
    /// Opens or makes the journal, and returns the records after `applied`.
    pub(super) fn open(
        disk: &dyn Disk,
        sync: bool,
        applied: u64,
        new_salt: u64,
    ) -> Result<(Self, Vec<Recovered>), StorageError> {
        let io = |source| StorageError::Io {
            context: "opening the journal".to_owned(),
            source,
        };
        let file = disk.open(FILE_NAME).map_err(io)?;
        let len = file.len().map_err(io)?;
        let salt = if len < FIRST_RECORD {
            // Whether it is new or was never finished: nothing was acknowledged from it.
            if applied > 0 {
                return Err(StorageError::Corrupt("the journal is missing or was cut".to_owned()));
            }
            create(disk, &*file, new_salt).map_err(io)?;
            new_salt
        } else {
            read_head(&*file).map_err(io)??
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

    /// How much is in it.
    pub(super) fn len(&self) -> u64 {
        self.offset - FIRST_RECORD
    }

    /// How much the file must grow to take `len` more bytes.
    pub(super) fn growth(&self, len: u64) -> u64 {
        (self.offset + HEAD as u64 + len).saturating_sub(self.written)
    }

    /// Writes a record: all of it, or as good as none.
    pub(super) fn append(&mut self, content: &Encoded) -> io::Result<()> {
        let head = Head::for_content(self.salt, self.next_seq, self.last_crc, content);
        let bytes = head.to_bytes();
        let mut pieces: Vec<IoSlice<'_>> = std::iter::once(bytes.as_slice())
            .chain(content.parts())
            .map(IoSlice::new)
            .collect();
        let end = self.offset + HEAD as u64 + head.len;
        let done = self
            .grow(end)
            .and_then(|()| self.file.write_at(&mut pieces, self.offset))
            .and_then(|()| if self.sync { self.file.sync() } else { Ok(()) });
        if let Err(error) = done {
            self.take_back();
            return Err(error);
        }
        self.offset = end;
        self.written = self.written.max(end);
        self.next_seq += 1;
        self.last_crc = head.crc;
        Ok(())
    }

    /// Whether the disk takes writes at all, asked before the index is touched: redb has to be
    /// opened anew after a failure, which a disk that became read-only would refuse too.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.file.write_at(&mut [IoSlice::new(&[0])], FIRST_RECORD - 1)
    }

    /// Begins again at the beginning: the index has everything.
    pub(super) fn restart(&mut self) {
        self.offset = FIRST_RECORD;
        if self.written > KEEP && self.file.set_len(KEEP).is_ok() {
            self.written = KEEP;
        }
    }

    /// Writes zeros behind the end, so that the next records find their blocks there.
    fn grow(&mut self, end: u64) -> io::Result<()> {
        if end <= self.written {
            return Ok(());
        }
        let zeros = vec![0u8; usize::try_from(GROW).unwrap_or(0)];
        let target = end + GROW - end % GROW;
        while self.written < target {
            let left = usize::try_from(target - self.written).unwrap_or(usize::MAX);
            let part = zeros.get(..left.min(zeros.len())).unwrap_or_default();
            match self.file.write_at(&mut [IoSlice::new(part)], self.written) {
                Ok(()) => self.written += part.len() as u64,
                // What is needed itself may still fit.
                Err(_) if self.written + GROW > end => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// After a failure: the record may be on disk, in part or whole. Its caller is told that it
    /// is not, so its head goes. That this may fail too is what a failing disk is; the next
    /// record is written over it in any case, and has its number.
    fn take_back(&self) {
        let zeros = [0u8; HEAD];
        if self.file.write_at(&mut [IoSlice::new(&zeros)], self.offset).is_ok() && self.sync {
            let _ = self.file.sync();
        }
    }

    /// Reads what was written behind record `applied`.
    pub(super) fn read_behind(&self, applied: u64) -> Result<Vec<Recovered>, StorageError> {
        let content = self.content(self.offset)?;
        let mut at = 0;
        let mut found = Vec::new();
        while let Some((head, record)) = Head::record_at(self.salt, &content, at) {
            at += HEAD + record.len();
            if head.seq > applied {
                found.push(Recovered {
                    seq: head.seq,
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

    /// Reads what is behind record `applied` and goes to its end.
    fn recover(&mut self, applied: u64) -> Result<Vec<Recovered>, StorageError> {
        let content = self.content(self.written)?;
        let mut found = Vec::new();
        let mut at = 0usize;
        let mut last: Option<Head> = None;
        while let Some((head, record)) = Head::record_at(self.salt, &content, at) {
            match last {
                Some(last) if head.seq != last.seq + 1 || head.previous != last.crc => break,
                None if head.seq > applied + 1 => {
                    return Err(StorageError::Corrupt(format!(
                        "the journal begins with record {}, the index ends with {applied}",
                        head.seq
                    )));
                }
                _ => {}
            }
            at += HEAD + record.len();
            last = Some(head);
            if head.seq > applied {
                found.push(Recovered {
                    seq: head.seq,
                    content: record,
                });
            }
        }
        if let Some(newest) = found.last() {
            self.next_seq = newest.seq + 1;
            self.offset = FIRST_RECORD + at as u64;
            self.last_crc = last.map_or(0, |last| last.crc);
        } else {
            // All of it is from before: the next record goes to the beginning.
            at = 0;
        }
        self.check_end(&content, at)?;
        Ok(found)
    }

    /// Where the records end, a crash may have left a torn one. A whole one behind it says
    /// that it was not a crash: then what is missing in between had been acknowledged.
    fn check_end(&self, content: &Bytes, at: usize) -> Result<(), StorageError> {
        let rest = content.get(at..).unwrap_or_default();
        // Bytes of clients may look like heads, many of them and each of a long record.
        let mut budget = MAX_SEARCH;
        for (offset, _) in rest
            .windows(MAGIC.len())
            .enumerate()
            .filter(|(_, window)| *window == MAGIC)
        {
            let Some(head) = Head::at(rest, offset).filter(|head| head.seq > self.next_seq) else {
                continue;
            };
            if head.len > (rest.len() - offset) as u64 {
                continue;
            }
            let Some(left) = budget.checked_sub(head.len) else {
                return Ok(());
            };
            budget = left;
            if Head::record_at(self.salt, content, at + offset).is_none() {
                continue;
            }
            let (missing, seq) = (self.next_seq, head.seq);
            if self.sync {
                return Err(StorageError::Corrupt(format!(
                    "record {missing} of the journal is damaged, record {seq} behind it is whole"
                )));
            }
            tracing::warn!(
                missing,
                "the end of the journal did not reach the disk before a power loss"
            );
            return Ok(());
        }
        Ok(())
    }
}

/// Puts an empty journal in the place of one that cannot be read.
pub(crate) fn replace(disk: &dyn Disk, salt: u64) -> io::Result<()> {
    disk.remove(FILE_NAME)?;
    create(disk, &*disk.open(FILE_NAME)?, salt)
}

/// Writes the head of a new journal: magic, format, salt, and a checksum of the three.
fn create(disk: &dyn Disk, file: &dyn DiskFile, salt: u64) -> io::Result<()> {
    let mut head = Vec::with_capacity(usize::try_from(FIRST_RECORD).unwrap_or(0));
    head.extend_from_slice(FILE_MAGIC);
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&salt.to_le_bytes());
    head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
    head.resize(usize::try_from(FIRST_RECORD).unwrap_or(0), 0);
    file.write_at(&mut [IoSlice::new(&head)], 0)?;
    file.sync()?;
    disk.sync_dir("")
}

fn read_head(file: &dyn DiskFile) -> io::Result<Result<u64, StorageError>> {
    let mut head = [0u8; 36];
    file.read_at(&mut head, 0)?;
    Ok(parse_head(&head))
}

fn parse_head(head: &[u8; 36]) -> Result<u64, StorageError> {
    let damaged = || StorageError::Corrupt("the head of the journal".to_owned());
    let (magic, rest) = head.split_first_chunk::<16>().ok_or_else(damaged)?;
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
    if crc32c::crc32c(head.get(..32).unwrap_or_default()) != u32::from_le_bytes(*crc) {
        return Err(damaged());
    }
    Ok(u64::from_le_bytes(*salt))
}
