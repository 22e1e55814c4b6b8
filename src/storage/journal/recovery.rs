//! Reading the journal when it is opened.

use bytes::Bytes;

use super::{
    JournalRecord,
    file::JournalFile,
    frame::{HEADER_LEN, Header, MAGIC},
};
use crate::storage::StorageError;

/// The bytes searched for an intact record after a damaged one.
const MAX_SEARCH: u64 = 64 * 1024 * 1024;

/// The intact records at the beginning of a file, and everything in it.
struct Scan {
    records: Vec<(Header, Bytes)>,
    content: Bytes,
}

/// What was found.
pub(super) struct Recovered {
    /// The records that are not in the index, in order.
    pub(super) records: Vec<JournalRecord>,
    /// The file with the last of them.
    pub(super) current: usize,
    pub(super) next_seq: u64,
    pub(super) last_crc: u32,
}

/// Finds the records after `applied` and moves the files to their ends.
pub(super) fn recover(files: &mut [JournalFile; 2], applied: u64, sync: bool) -> Result<Recovered, StorageError> {
    let [first, second] = &*files;
    let mut scans = [(0, scan(first)?), (1, scan(second)?)];
    scans.sort_by_key(|(_, scan)| scan.records.first().map(|(header, _)| header.seq));
    let mut found = Recovered {
        records: Vec::new(),
        current: 0,
        next_seq: applied + 1,
        last_crc: 0,
    };
    let mut ends = [0; 2];
    let mut older: &[(Header, Bytes)] = &[];
    for (file, scan) in &scans {
        let (Some((begin, _)), Some((end, _))) = (scan.records.first(), scan.records.last()) else {
            continue;
        };
        if end.seq <= applied || !continues(&mut found, older, begin, applied)? {
            continue;
        }
        for (header, content) in scan.records.iter().filter(|(header, _)| header.seq > applied) {
            found.records.push(JournalRecord {
                seq: header.seq,
                content: content.clone(),
            });
        }
        let len = scan.records.iter().map(|(_, record)| HEADER_LEN + record.len()).sum();
        if let (Some(end), Some(file)) = (ends.get_mut(*file), files.get_mut(*file)) {
            *end = len;
            file.resume(scan.records.last().map_or(0, |(header, _)| header.seq), len as u64);
        }
        found.current = *file;
        found.next_seq = end.seq + 1;
        found.last_crc = end.crc;
        older = &scan.records;
    }
    for (file, scan) in &scans {
        let (Some(end), Some(file)) = (ends.get(*file), files.get(*file)) else {
            continue;
        };
        check_end(file.salt, &scan.content, *end, found.next_seq, sync)?;
    }
    Ok(found)
}

/// Whether a file that begins with the record `begin` continues the records `older`, or the index.
fn continues(
    found: &mut Recovered,
    older: &[(Header, Bytes)],
    begin: &Header,
    applied: u64,
) -> Result<bool, StorageError> {
    if older.is_empty() {
        if begin.seq > applied + 1 {
            return Err(StorageError::Corrupt(format!(
                "the journal begins with record {}, but the index ends with record {applied}",
                begin.seq
            )));
        }
        return Ok(true);
    }
    let mut before = older.iter().map(|(header, _)| header);
    if !before.any(|header| header.seq + 1 == begin.seq && header.crc == begin.previous) {
        return Ok(false);
    }
    // A record whose write failed may be left at the end of the older file.
    found.records.retain(|record| record.seq < begin.seq);
    Ok(true)
}

fn scan(file: &JournalFile) -> Result<Scan, StorageError> {
    let content = file.content()?;
    let mut records: Vec<(Header, Bytes)> = Vec::new();
    let mut at = 0;
    while let Some((header, record)) = Header::record_at(file.salt, &content, at) {
        if let Some((last, _)) = records.last()
            && (header.seq != last.seq + 1 || header.previous != last.crc)
        {
            break;
        }
        at += HEADER_LEN + record.len();
        records.push((header, record));
    }
    Ok(Scan { records, content })
}

/// Distinguishes a torn last record from damage: if an intact record follows, the damaged one
/// before it was acknowledged.
fn check_end(salt: u64, content: &Bytes, at: usize, next_seq: u64, sync: bool) -> Result<(), StorageError> {
    let rest = content.get(at..).unwrap_or_default();
    // Client data may look like many headers of long records.
    let mut budget = MAX_SEARCH;
    for (offset, _) in rest
        .windows(MAGIC.len())
        .enumerate()
        .filter(|(_, window)| *window == MAGIC)
    {
        let Some(header) = Header::at(rest, offset).filter(|header| header.seq > next_seq) else {
            continue;
        };
        if header.len > (rest.len() - offset) as u64 {
            continue;
        }
        let Some(left) = budget.checked_sub(header.len) else {
            return Ok(());
        };
        budget = left;
        if Header::record_at(salt, content, at + offset).is_none() {
            continue;
        }
        if sync {
            return Err(StorageError::Corrupt(format!(
                "record {next_seq} of the journal is damaged, record {} after it is intact",
                header.seq
            )));
        }
        tracing::warn!(
            missing = next_seq,
            seq = header.seq,
            "the end of the journal was lost in a power failure"
        );
        return Ok(());
    }
    Ok(())
}
