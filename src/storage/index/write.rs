//! Writing the index: checkpoints.
//!
//! Every transaction is a quick-repair one: it leaves the state of redb's allocator behind
//! and is committed in two phases, so that a start after a crash need not walk through the
//! whole database. That costs a second sync, which a commit for each batch could not afford;
//! a checkpoint stands for thousands of batches.

use std::{collections::BTreeMap, ops::Range};

use redb::{Database, ReadableTable, WriteTransaction};

use super::{
    DATA, DUE, FILES, GARBAGE, HOLES, META, META_APPLIED, META_BYTES, META_CREDIT, META_NEXT_ID, NAMES, Run, TRIMMED,
    Totals, WRITERS,
    schema::{Data, decode_record, encode_record, encode_writer},
    spelling::{self, SPELLINGS},
};
use crate::storage::{Position, StreamId, memtable::Memtable, segments::Segments};

/// The longest row. redb gives a large value pages of its own, a power of two of them: this
/// much and its bookkeeping just fit into 64 KiB.
const MAX_ROW: usize = 64 * 1024 - 256;

/// A last row up to this long is written anew with what follows it, whatever that is: its
/// page is written anyway.
const ALWAYS_JOIN: usize = 2048;

/// What a checkpoint brings to the index.
pub(crate) struct Checkpoint<'a> {
    pub(crate) mem: &'a Memtable,
    /// Streams whose bytes went to their files, and what counts of the files now.
    pub(crate) runs: &'a BTreeMap<StreamId, Run>,
    /// The ranges that streams were found to have lost.
    pub(crate) holes: &'a [(StreamId, Range<Position>)],
    /// The totals with everything in `mem`.
    pub(crate) totals: Totals,
}

pub(super) fn begin(db: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    Ok(txn)
}

/// Writes everything in one transaction.
pub(crate) fn checkpoint(db: &Database, new: &Checkpoint<'_>) -> Result<(), redb::Error> {
    let txn = begin(db)?;
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
            // Of two, all between them is as good as lost.
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
            Some(_) => spelling::write(&mut spellings, name)?,
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
    for (&id, grown) in &new.mem.streams {
        if let Some(run) = new.runs.get(&id) {
            files.insert(id, (run.start, run.len))?;
        } else if !grown.indexed || grown.segments.tail() > grown.segments.start() {
            write_rows(&mut data, id, &grown.segments)?;
        }
        for (key, state) in &grown.writers {
            match state {
                Some(state) => _ = writers.insert((id, &**key), encode_writer(state)?.as_slice())?,
                None => _ = writers.remove((id, &**key))?,
            }
        }
    }
    Ok(())
}

/// Writes what a stream has grown by, joined to its last row when that is short beside it: a
/// stream that grows little by little is to have few rows, and none is to be written often.
fn write_rows(data: &mut Data<'_>, id: StreamId, segments: &Segments) -> Result<(), redb::Error> {
    let grown = usize::try_from(segments.tail() - segments.start()).unwrap_or(usize::MAX);
    let last = data.range((id, 0)..=(id, u64::MAX))?.next_back().transpose()?;
    let joined: Option<(Position, Vec<u8>)> = last.and_then(|(key, value)| {
        let value = value.value();
        let short = value.len() <= ALWAYS_JOIN.max(2 * grown) && value.len().saturating_add(grown) <= MAX_ROW;
        short.then(|| (key.value().1, value.to_vec()))
    });
    let (mut at, front) = joined.unwrap_or((segments.start(), Vec::new()));
    let mut left = front.len().saturating_add(grown);
    let mut pieces = std::iter::once(front.as_slice()).chain(segments.pieces());
    let mut piece: &[u8] = &[];
    loop {
        let len = left.min(MAX_ROW);
        let mut row = data.insert_reserve((id, at), len)?;
        let mut rest = row.as_mut();
        while !rest.is_empty() {
            if piece.is_empty() {
                match pieces.next() {
                    Some(next) => piece = next,
                    None => break,
                }
            }
            let (now, later) = piece.split_at(piece.len().min(rest.len()));
            let (front, back) = rest.split_at_mut(now.len());
            front.copy_from_slice(now);
            (piece, rest) = (later, back);
        }
        left -= len;
        at += len as u64;
        if left == 0 {
            return Ok(());
        }
    }
}
