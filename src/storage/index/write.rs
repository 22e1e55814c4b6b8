//! Writing checkpoints to the index.
//!
//! Every transaction uses redb's quick repair: it saves the state of the allocator and commits in
//! two phases, so a start after a crash need not walk the whole database. The second sync this
//! costs is shared by the thousands of batches of a checkpoint.

use std::{collections::BTreeMap, ops::Range};

use redb::{Database, ReadableTable, WriteTransaction};

use super::{
    read::Extent,
    schema::{
        DATA, DUE, Data, FILES, GARBAGE, HOLES, META, META_APPLIED, META_BYTES, META_CREDIT, META_NEXT_ID, NAMES,
        TRIMMED, WRITERS, begin_write, decode_record, encode_record, encode_writer,
    },
    spelling::{self, SPELLINGS},
    totals::Totals,
};
use crate::storage::{Position, StreamId, memtable::Memtable, segments::Segments};

/// The longest row. redb stores a large value in a power of two of pages; this and its bookkeeping
/// just fit into 64 KiB.
const MAX_ROW: usize = 64 * 1024 - 256;

/// A last row of at most this length is always extended: its page is rewritten anyway.
const ALWAYS_EXTEND: usize = 2048;

/// The contents of a checkpoint.
pub(crate) struct Checkpoint<'a> {
    pub(crate) mem: &'a Memtable,
    /// The new extents of streams whose bytes were written to their files.
    pub(crate) extents: &'a BTreeMap<StreamId, Extent>,
    /// Ranges found to be lost.
    pub(crate) holes: &'a [(StreamId, Range<Position>)],
    /// The totals including `mem`.
    pub(crate) totals: Totals,
}

/// Writes everything in one transaction.
pub(crate) fn checkpoint(db: &Database, new: &Checkpoint<'_>) -> Result<(), redb::Error> {
    let txn = begin_write(db)?;
    if !new.mem.names.is_empty() {
        write_records(&txn, new.mem)?;
    }
    write_streams(&txn, new)?;
    if !new.mem.removed.is_empty() {
        let mut garbage = txn.open_table(GARBAGE)?;
        for id in &new.mem.removed {
            garbage.insert(id, ())?;
        }
    }
    if !new.mem.trimmed.is_empty() {
        let mut trimmed = txn.open_table(TRIMMED)?;
        for (id, first) in &new.mem.trimmed {
            trimmed.insert(id, first)?;
        }
    }
    if !new.holes.is_empty() {
        let mut holes = txn.open_table(HOLES)?;
        for (id, hole) in new.holes {
            // Two holes become one: what lies between them cannot be read either.
            let start = holes.get(id)?.map_or(hole.start, |row| row.value().0.min(hole.start));
            holes.insert(id, (start, hole.end))?;
        }
    }
    {
        let mut meta = txn.open_table(META)?;
        meta.insert(META_APPLIED, new.totals.applied)?;
        meta.insert(META_NEXT_ID, new.totals.next_id)?;
        meta.insert(META_BYTES, new.totals.bytes)?;
        meta.insert(META_CREDIT, new.totals.credit)?;
    }
    txn.commit()?;
    Ok(())
}

fn write_records(txn: &WriteTransaction, mem: &Memtable) -> Result<(), redb::Error> {
    let mut names = txn.open_table(NAMES)?;
    let mut due = txn.open_table(DUE)?;
    let mut spellings = txn.open_table(SPELLINGS)?;
    for (name, record) in &mem.names {
        match record {
            Some(_) => spelling::save(&mut spellings, name)?,
            None => drop(spellings.remove(name.key())?),
        }
        let name = name.key();
        let old = match record {
            Some(record) => names.insert(name, encode_record(record)?.as_slice())?,
            None => names.remove(name)?,
        };
        let due_before = match old {
            Some(old) => decode_record(name, old.value())?.due_at,
            None => None,
        };
        let due_at = record.as_ref().and_then(|record| record.due_at);
        if due_before != due_at {
            if let Some(at) = due_before {
                due.remove((at, name))?;
            }
            if let Some(at) = due_at {
                due.insert((at, name), ())?;
            }
        }
    }
    Ok(())
}

fn write_streams(txn: &WriteTransaction, new: &Checkpoint<'_>) -> Result<(), redb::Error> {
    let mut data = txn.open_table(DATA)?;
    let mut files = txn.open_table(FILES)?;
    let mut writers = txn.open_table(WRITERS)?;
    for (&id, pending) in &new.mem.streams {
        if let Some(extent) = new.extents.get(&id) {
            files.insert(id, (extent.start, extent.len))?;
        } else if !pending.indexed || pending.segments.tail() > pending.segments.start() {
            write_rows(&mut data, id, &pending.segments)?;
        }
        for (key, state) in &pending.writers {
            match state {
                Some(state) => _ = writers.insert((id, &**key), encode_writer(state)?.as_slice())?,
                None => _ = writers.remove((id, &**key))?,
            }
        }
    }
    Ok(())
}

/// Writes the new bytes of a stream. A last row that is short compared to them is extended, so that
/// a stream that grows slowly has few rows and no row is rewritten often.
fn write_rows(data: &mut Data<'_>, id: StreamId, segments: &Segments) -> Result<(), redb::Error> {
    let added = usize::try_from(segments.tail() - segments.start()).unwrap_or(usize::MAX);
    let last = data.range((id, 0)..=(id, u64::MAX))?.next_back().transpose()?;
    let extended: Option<(Position, Vec<u8>)> = last.and_then(|(key, value)| {
        let value = value.value();
        let short = value.len() <= ALWAYS_EXTEND.max(2 * added) && value.len().saturating_add(added) <= MAX_ROW;
        short.then(|| (key.value().1, value.to_vec()))
    });
    let (mut at, front) = extended.unwrap_or((segments.start(), Vec::new()));
    let mut left = front.len().saturating_add(added);
    let mut chunks = std::iter::once(front.as_slice()).chain(segments.chunks());
    let mut chunk: &[u8] = &[];
    loop {
        let len = left.min(MAX_ROW);
        let mut row = data.insert_reserve((id, at), len)?;
        let mut rest = row.as_mut();
        while !rest.is_empty() {
            if chunk.is_empty() {
                match chunks.next() {
                    Some(next) => chunk = next,
                    None => break,
                }
            }
            let (now, later) = chunk.split_at(chunk.len().min(rest.len()));
            let (front, back) = rest.split_at_mut(now.len());
            front.copy_from_slice(now);
            (chunk, rest) = (later, back);
        }
        left -= len;
        at += len as u64;
        if left == 0 {
            return Ok(());
        }
    }
}
