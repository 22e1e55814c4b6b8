//! One of the two files of the journal.

use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    FILE_NAMES,
    entry::Encoded,
    frame::{HEADER_LEN, Header},
};
use crate::storage::{
    StorageError,
    disk::{Disk, DiskFile},
};

/// The format that this version writes, and the newest that it reads.
const FORMAT: u64 = 2;

/// The last format with a single file.
const SINGLE_FILE_FORMAT: u64 = 1;

const MAGIC: &[u8; 16] = b"durable-streams\n";

/// The length of the magic, the format, the salt and their checksum.
const FILE_HEADER_LEN: usize = 36;

/// The offset of the first record. The file's header has a page of its own.
const FIRST_RECORD: u64 = 4096;

/// The file grows by this many zeros at a time, so that few syncs have to write metadata.
const GROWTH_STEP: u64 = 256 * 1024;

/// A longer file, after a very large batch, is truncated when it is reused.
const MAX_IDLE_LEN: u64 = 16 * 1024 * 1024;

/// A file of records.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: Arc<dyn DiskFile>,
    /// Part of every checksum, so that neither records of another store nor forged bytes from a
    /// client are valid.
    pub(super) salt: u64,
    /// The offset of the next record.
    offset: u64,
    /// The end of what is written, records or zeros.
    written: u64,
    /// The number of the last record; 0 if there is none that matters.
    pub(super) last_seq: u64,
}

impl JournalFile {
    /// Opens the two files, or creates them if no record is in the index.
    pub(super) fn open_all(disk: &dyn Disk, applied: u64, new_salts: [u64; 2]) -> Result<[Self; 2], StorageError> {
        let corrupt = |what: &str| Err(StorageError::Corrupt(what.to_owned()));
        let [first_name, second_name] = FILE_NAMES;
        let [first_salt, second_salt] = new_salts;
        let create = |name, salt| create(disk, name, salt).map_err(opening);
        let Some((first, format)) = Self::open(disk, first_name, applied)? else {
            // Nothing was acknowledged if they are new or were never completed.
            if applied > 0 || has_records(disk, second_name)? {
                return corrupt("the journal is missing or truncated");
            }
            // The first file comes last: where it exists, the second one does.
            let second = create(second_name, second_salt)?;
            return Ok([create(first_name, first_salt)?, second]);
        };
        if format > SINGLE_FILE_FORMAT {
            return match Self::open(disk, second_name, applied)? {
                Some((second, _)) => Ok([first, second]),
                None => corrupt("the second file of the journal is missing or truncated"),
            };
        }
        let second = create(second_name, second_salt)?;
        // An older version, which does not know the second file, refuses the new format.
        let header = file_header(first.salt);
        let upgraded = first.file.write_at(&mut [IoSlice::new(&header)], 0);
        upgraded.and_then(|()| first.file.sync()).map_err(opening)?;
        Ok([first, second])
    }

    /// Opens a file and returns its format; `None` if it is missing or was never completed.
    fn open(disk: &dyn Disk, name: &str, applied: u64) -> Result<Option<(Self, u64)>, StorageError> {
        if !disk.exists(name).map_err(opening)? {
            return Ok(None);
        }
        let file = disk.open(name).map_err(opening)?;
        let written = file.len().map_err(opening)?;
        if written < FIRST_RECORD {
            return Ok(None);
        }
        match read_header(&*file) {
            Ok((salt, format)) => Ok(Some((Self::at_start(file, salt, written), format))),
            Err(StorageError::Corrupt(_)) if applied == 0 && !has_records(disk, name)? => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn at_start(file: Arc<dyn DiskFile>, salt: u64, written: u64) -> Self {
        Self {
            file,
            salt,
            offset: FIRST_RECORD,
            written,
            last_seq: 0,
        }
    }

    /// The length of its records.
    pub(super) fn len(&self) -> u64 {
        self.offset - FIRST_RECORD
    }

    /// How much the file has to grow for a record with `len` bytes.
    pub(super) fn growth(&self, len: u64) -> u64 {
        (self.offset + HEADER_LEN as u64 + len).saturating_sub(self.written)
    }

    /// Appends a record.
    pub(super) fn append(&mut self, header: &Header, content: &Encoded, sync: bool) -> io::Result<()> {
        let bytes = header.to_bytes();
        let mut buffers: Vec<IoSlice<'_>> = std::iter::once(bytes.as_slice())
            .chain(content.parts())
            .map(IoSlice::new)
            .collect();
        let end = self.offset + HEADER_LEN as u64 + header.len;
        let done = self
            .grow(end)
            .and_then(|()| self.file.write_at(&mut buffers, self.offset))
            .and_then(|()| if sync { self.file.sync() } else { Ok(()) });
        if let Err(error) = done {
            self.revoke_last(sync);
            return Err(error);
        }
        self.offset = end;
        self.written = self.written.max(end);
        self.last_seq = header.seq;
        Ok(())
    }

    /// Checks that the disk accepts writes.
    pub(super) fn probe(&self) -> io::Result<()> {
        self.file.write_at(&mut [IoSlice::new(&[0])], FIRST_RECORD - 1)
    }

    /// Starts over at the beginning. The index must have all of its records.
    pub(super) fn restart(&mut self) {
        self.offset = FIRST_RECORD;
        self.last_seq = 0;
        if self.written > MAX_IDLE_LEN && self.file.set_len(MAX_IDLE_LEN).is_ok() {
            self.written = MAX_IDLE_LEN;
        }
    }

    /// Continues after the record `last_seq`, which ends `len` bytes after the first one begins.
    pub(super) fn resume(&mut self, last_seq: u64, len: u64) {
        self.offset = FIRST_RECORD + len;
        self.last_seq = last_seq;
    }

    /// Makes everything in the file durable.
    pub(super) fn sync(&self) -> Result<(), StorageError> {
        self.file.sync().map_err(opening)
    }

    /// Removes everything after the first `len` bytes of records.
    pub(super) fn truncate(&mut self, len: u64) -> Result<(), StorageError> {
        let end = FIRST_RECORD + len;
        let done = self.file.set_len(end).and_then(|()| self.file.sync());
        done.map_err(opening)?;
        self.written = end;
        Ok(())
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
    /// This is best effort on a failing disk. The next record has its number.
    fn revoke_last(&self, sync: bool) {
        let zeros = [0u8; HEADER_LEN];
        if self.file.write_at(&mut [IoSlice::new(&zeros)], self.offset).is_ok() && sync {
            let _ = self.file.sync();
        }
    }

    /// Everything after the header.
    pub(super) fn content(&self) -> Result<Bytes, StorageError> {
        let mut content = vec![0u8; usize::try_from(self.written - FIRST_RECORD).unwrap_or(0)];
        let read = self.file.read_at(&mut content, FIRST_RECORD);
        read.map_err(|source| StorageError::Io {
            context: "reading the journal".to_owned(),
            source,
        })?;
        Ok(Bytes::from(content))
    }
}

fn opening(source: io::Error) -> StorageError {
    StorageError::Io {
        context: "opening the journal".to_owned(),
        source,
    }
}

/// Whether there is anything after the header of a file, which may be incomplete itself.
fn has_records(disk: &dyn Disk, name: &str) -> Result<bool, StorageError> {
    if !disk.exists(name).map_err(opening)? {
        return Ok(false);
    }
    let file = disk.open(name).map_err(opening)?;
    let written = file.len().map_err(opening)?.max(FIRST_RECORD);
    let content = JournalFile::at_start(file, 0, written).content()?;
    Ok(content.iter().any(|byte| *byte != 0))
}

/// Replaces an unreadable journal with an empty one.
pub(crate) fn replace(disk: &dyn Disk, salts: [u64; 2]) -> io::Result<()> {
    for (name, salt) in FILE_NAMES.into_iter().zip(salts).rev() {
        disk.remove(name)?;
        create(disk, name, salt)?;
    }
    Ok(())
}

/// Creates a file, or completes one that was not completed.
fn create(disk: &dyn Disk, name: &str, salt: u64) -> io::Result<JournalFile> {
    let file = disk.open(name)?;
    let mut page = file_header(salt);
    page.resize(usize::try_from(FIRST_RECORD).unwrap_or(0), 0);
    file.write_at(&mut [IoSlice::new(&page)], 0)?;
    file.sync()?;
    disk.sync_dir("")?;
    Ok(JournalFile::at_start(file, salt, FIRST_RECORD))
}

/// The header of a file: magic, format, salt, and their checksum.
fn file_header(salt: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(FILE_HEADER_LEN);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(&salt.to_le_bytes());
    header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
    header
}

/// The salt and the format.
fn read_header(file: &dyn DiskFile) -> Result<(u64, u64), StorageError> {
    let mut header = [0u8; FILE_HEADER_LEN];
    file.read_at(&mut header, 0).map_err(|source| StorageError::Io {
        context: "reading the header of the journal".to_owned(),
        source,
    })?;
    parse_header(&header)
}

fn parse_header(header: &[u8; FILE_HEADER_LEN]) -> Result<(u64, u64), StorageError> {
    let damaged = || StorageError::Corrupt("the header of the journal is invalid".to_owned());
    let (magic, rest) = header.split_first_chunk::<16>().ok_or_else(damaged)?;
    let (format, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (salt, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (crc, _) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
    if magic != MAGIC {
        return Err(damaged());
    }
    let format = u64::from_le_bytes(*format);
    if format > FORMAT {
        return Err(StorageError::NewerFormat {
            found: format,
            supported: FORMAT,
        });
    }
    if crc32c::crc32c(header.get(..32).unwrap_or_default()) != u32::from_le_bytes(*crc) {
        return Err(damaged());
    }
    Ok((u64::from_le_bytes(*salt), format))
}
