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

/// The result of a recovery.
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
    for (index, scan) in &scans {
        let (Some((begin, _)), Some((end, _))) = (scan.records.first(), scan.records.last()) else {
            continue;
        };
        if end.seq > applied {
            if !continues(&mut found, older, begin, applied, sync)? {
                continue;
            }
            for (header, content) in scan.records.iter().filter(|(header, _)| header.seq > applied) {
                found.records.push(JournalRecord {
                    seq: header.seq,
                    content: content.clone(),
                });
            }
            let len = scan.records.iter().map(|(_, record)| HEADER_LEN + record.len()).sum();
            if let (Some(to), Some(file)) = (ends.get_mut(*index), files.get_mut(*index)) {
                *to = len;
                file.resume(end.seq, len as u64);
            }
            found.current = *index;
            found.next_seq = end.seq + 1;
        }
        if end.seq + 1 == found.next_seq {
            found.last_crc = end.crc;
        }
        older = &scan.records;
    }
    for (index, scan) in &scans {
        let (Some(end), Some(file)) = (ends.get(*index), files.get_mut(*index)) else {
            continue;
        };
        if let Some(seq) = record_after(file.salt, &scan.content, *end, found.next_seq) {
            let missing = found.next_seq;
            if sync {
                return Err(StorageError::Corrupt(format!(
                    "record {missing} of the journal is damaged, record {seq} after it is intact"
                )));
            }
            tracing::warn!(missing, seq, "the end of the journal was lost in a power failure");
            // A later start must not take it for a continuation.
            file.truncate(*end as u64)?;
        }
    }
    if sync && !found.records.is_empty() {
        // They may not be on disk yet, and the sync of the next record is one of its file only.
        for file in files {
            file.sync()?;
        }
    }
    Ok(found)
}

/// Whether a file that begins with the record `begin` continues what was found, or the index.
fn continues(
    found: &mut Recovered,
    older: &[(Header, Bytes)],
    begin: &Header,
    applied: u64,
    sync: bool,
) -> Result<bool, StorageError> {
    let before = older.iter().find(|(header, _)| header.seq + 1 == begin.seq);
    match before {
        // A record up to `applied` may be a leftover of a failed write.
        Some((before, _)) if before.seq > applied && before.crc != begin.previous => return Ok(false),
        // A record whose write failed may be left at the end of the older file.
        Some(_) => found.records.retain(|record| record.seq < begin.seq),
        None if found.records.is_empty() && begin.seq <= found.next_seq => {}
        None if sync && found.records.is_empty() => {
            return Err(StorageError::Corrupt(format!(
                "the journal begins with record {}, but the index ends with record {}",
                begin.seq,
                found.next_seq - 1
            )));
        }
        None => return Ok(false),
    }
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

/// The number of an intact record after the end, if there is one. It distinguishes damage from a torn
/// last record: the damaged one before it was acknowledged.
fn record_after(salt: u64, content: &Bytes, at: usize, next_seq: u64) -> Option<u64> {
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
        budget = budget.checked_sub(header.len)?;
        if Header::record_at(salt, content, at + offset).is_some() {
            return Some(header.seq);
        }
    }
    None
}
