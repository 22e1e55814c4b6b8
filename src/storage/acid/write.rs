//! Writing: one batch, one transaction, one sync.

use std::collections::BTreeMap;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::{
    read::tail,
    schema::{DATA, DUE, GARBAGE, META, META_BYTES, META_NEXT_ID, NAMES, PRODUCERS, decode_record, encode_record},
};
use crate::{
    protocol::StreamName,
    storage::{Change, CommitError, Position, StreamId, StreamRecord},
};

/// The longest row. redb gives a large value pages of its own, a power of two of them: this
/// much and its bookkeeping just fit into 64 KiB.
const MAX_ROW: usize = 64 * 1024 - 256;

type Data<'t> = Table<'t, (u64, u64), &'static [u8]>;
type Producers<'t> = Table<'t, (u64, &'static str), (u64, u64)>;

/// How many rows one slice of upkeep removes at most.
const RECLAIM_ROWS: usize = 512;

/// How a batch ended.
pub(super) enum Outcome {
    /// It is on disk.
    Done(Effect),
    /// It cannot be applied; nothing was written.
    Refused(CommitError),
}

/// What a batch changed in sum, or what is there after many of them.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Effect {
    pub(super) streams: i64,
    pub(super) bytes: i64,
    /// Whether removed streams wait for [`reclaim`].
    pub(super) garbage: bool,
}

/// What one stream gets from a batch: one row, however many appends it comes from.
struct Pending<'b> {
    start: Position,
    len: u64,
    pieces: Vec<&'b Bytes>,
}

impl Pending<'_> {
    fn tail(&self) -> Position {
        self.start + self.len
    }
}

/// Writes a batch. `before` is what all batches before it came to.
///
/// Durability is redb's default, an immediate commit in one phase: pages, then the commit
/// slot with its checksum, then one sync. A crash in between leaves a slot whose checksum
/// does not match, and the one before it counts. redb offers two phases against someone who
/// controls what is written and when the machine crashes, and can compute a collision of the
/// (unkeyed) checksum on top; it costs a second sync for each commit.
pub(super) fn commit(db: &Database, batch: &[Change], before: &Effect) -> Result<Outcome, redb::Error> {
    let txn = db.begin_write()?;
    match apply(&txn, batch, before)? {
        Outcome::Done(effect) => {
            txn.commit()?;
            Ok(Outcome::Done(effect))
        }
        refused @ Outcome::Refused(_) => {
            txn.abort()?;
            Ok(refused)
        }
    }
}

fn apply(txn: &WriteTransaction, batch: &[Change], before: &Effect) -> Result<Outcome, redb::Error> {
    let mut writer = Writer {
        txn,
        data: txn.open_table(DATA)?,
        records: None,
        producers: None,
        pending: BTreeMap::new(),
        garbage_waits: before.garbage,
        effect: Effect::default(),
    };
    for change in batch {
        match change {
            Change::Put { name, record } => writer.put(name, record)?,
            Change::Append { id, at, data } => {
                let tail = writer.tail(*id)?;
                if tail != Some(*at) {
                    let tail = tail.unwrap_or(0);
                    return Ok(Outcome::Refused(CommitError::TailMoved { id: *id, tail }));
                }
                writer.append(*id, *at, data);
            }
            Change::Producer { id, producer, state } => {
                let producers = match &mut writer.producers {
                    Some(table) => table,
                    none => none.insert(txn.open_table(PRODUCERS)?),
                };
                producers.insert((*id, producer.as_str()), (state.epoch, state.seq))?;
            }
            Change::Remove { name, id } => writer.remove(name, *id)?,
        }
    }
    writer.finish(before.bytes).map(Outcome::Done)
}

/// The tables that a batch writes to; those for records only when it has any.
struct Writer<'t, 'b> {
    txn: &'t WriteTransaction,
    data: Data<'t>,
    records: Option<Records<'t>>,
    producers: Option<Producers<'t>>,
    pending: BTreeMap<StreamId, Pending<'b>>,
    garbage_waits: bool,
    effect: Effect,
}

struct Records<'t> {
    names: Table<'t, &'static str, &'static [u8]>,
    due: Table<'t, (u64, &'static str), ()>,
}

impl<'t, 'b> Writer<'t, 'b> {
    fn records(&mut self) -> Result<&mut Records<'t>, redb::Error> {
        Ok(match &mut self.records {
            Some(records) => records,
            none => none.insert(Records {
                names: self.txn.open_table(NAMES)?,
                due: self.txn.open_table(DUE)?,
            }),
        })
    }

    fn tail(&self, id: StreamId) -> Result<Option<Position>, redb::Error> {
        if let Some(pending) = self.pending.get(&id) {
            return Ok(Some(pending.tail()));
        }
        // The rows of a removed stream stay for a while, the stream does not.
        if (self.garbage_waits || self.effect.garbage) && self.txn.open_table(GARBAGE)?.get(id)?.is_some() {
            return Ok(None);
        }
        tail(&self.data, id)
    }

    fn append(&mut self, id: StreamId, at: Position, data: &'b [Bytes]) {
        let pending = self.pending.entry(id).or_insert_with(|| Pending {
            start: at,
            len: 0,
            pieces: Vec::new(),
        });
        let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
        pending.pieces.extend(data);
        pending.len += len;
        self.effect.bytes += signed(len);
    }

    fn put(&mut self, name: &StreamName, record: &StreamRecord) -> Result<(), redb::Error> {
        let encoded = encode_record(record)?;
        let Records { names, due } = self.records()?;
        let old = match names.insert(name.as_str(), encoded.as_slice())? {
            Some(old) => Some(decode_record(name.as_str(), old.value())?),
            None => None,
        };
        let due_before = old.as_ref().and_then(|old| old.due_at);
        if due_before != record.due_at {
            if let Some(at) = due_before {
                due.remove((at, name.as_str()))?;
            }
            if let Some(at) = record.due_at {
                due.insert((at, name.as_str()), ())?;
            }
        }
        let same = old.as_ref().is_some_and(|old| old.id == record.id);
        match old {
            Some(old) if !same => self.discard(old.id, old.start)?,
            Some(_) => {}
            None => self.effect.streams += 1,
        }
        if !same && self.tail(record.id)?.is_none() {
            // An empty row, or the beginning of one: from here on the id exists.
            self.append(record.id, record.start, &[]);
        }
        Ok(())
    }

    fn remove(&mut self, name: &StreamName, id: StreamId) -> Result<(), redb::Error> {
        let Records { names, due } = self.records()?;
        let old = match names.get(name.as_str())? {
            Some(old) => Some(decode_record(name.as_str(), old.value())?),
            None => None,
        };
        let Some(old) = old.filter(|old| old.id == id) else {
            return Ok(());
        };
        names.remove(name.as_str())?;
        if let Some(at) = old.due_at {
            due.remove((at, name.as_str()))?;
        }
        self.effect.streams -= 1;
        self.discard(id, old.start)
    }

    /// Hands a stream's rows to [`reclaim`].
    fn discard(&mut self, id: StreamId, start: Position) -> Result<(), redb::Error> {
        let tail = self.tail(id)?.unwrap_or(start);
        self.effect.bytes -= signed(tail - start);
        self.pending.remove(&id);
        self.effect.garbage = true;
        self.txn.open_table(GARBAGE)?.insert(id, ())?;
        Ok(())
    }

    fn finish(mut self, stored_bytes: i64) -> Result<Effect, redb::Error> {
        for (id, pending) in std::mem::take(&mut self.pending) {
            write_rows(&mut self.data, id, &pending)?;
        }
        if self.records.is_some() {
            let bytes = u64::try_from(stored_bytes + self.effect.bytes).unwrap_or(0);
            self.txn.open_table(META)?.insert(META_BYTES, bytes)?;
        }
        Ok(self.effect)
    }
}

fn write_rows(data: &mut Data<'_>, id: StreamId, pending: &Pending<'_>) -> Result<(), redb::Error> {
    if let [piece] = pending.pieces.as_slice()
        && piece.len() <= MAX_ROW
    {
        data.insert((id, pending.start), &piece[..])?;
        return Ok(());
    }
    let mut at = pending.start;
    let mut left = usize::try_from(pending.len).unwrap_or(usize::MAX);
    let mut pieces = pending.pieces.iter();
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

/// Removes some rows of removed streams. Returns how many bytes went, and whether more waits.
pub(super) fn reclaim(db: &Database) -> Result<(u64, bool), redb::Error> {
    if db.begin_read()?.open_table(GARBAGE)?.is_empty()? {
        return Ok((0, false));
    }
    let txn = db.begin_write()?;
    let mut freed = 0u64;
    let mut left = RECLAIM_ROWS;
    let more = {
        let mut garbage = txn.open_table(GARBAGE)?;
        let mut data = txn.open_table(DATA)?;
        let mut producers = txn.open_table(PRODUCERS)?;
        loop {
            let Some(id) = garbage.first()?.map(|(id, _)| id.value()) else {
                break false;
            };
            let mut starts = Vec::new();
            for row in data.range((id, 0)..=(id, u64::MAX))?.take(left) {
                starts.push(row?.0.value().1);
            }
            left -= starts.len();
            for start in starts {
                freed += data.remove((id, start))?.map_or(0, |value| value.value().len() as u64);
            }
            let mut known = Vec::new();
            for row in producers.range((id, "")..(id.saturating_add(1), ""))?.take(left) {
                known.push(row?.0.value().1.to_owned());
            }
            left -= known.len();
            for producer in known {
                producers.remove((id, producer.as_str()))?;
            }
            if left == 0 {
                break true;
            }
            left -= 1;
            garbage.remove(id)?;
        }
    };
    txn.commit()?;
    Ok((freed, more))
}

/// Sets ids aside.
pub(super) fn reserve_ids(db: &Database, count: u64) -> Result<StreamId, redb::Error> {
    let txn = db.begin_write()?;
    let first = {
        let mut meta = txn.open_table(META)?;
        let first = meta.get(META_NEXT_ID)?.map_or(1, |next| next.value());
        meta.insert(META_NEXT_ID, first.saturating_add(count))?;
        first
    };
    txn.commit()?;
    Ok(first)
}

/// Writes down how many bytes all streams hold.
pub(super) fn save_bytes(db: &Database, bytes: i64) -> Result<(), redb::Error> {
    let txn = db.begin_write()?;
    txn.open_table(META)?
        .insert(META_BYTES, u64::try_from(bytes).unwrap_or(0))?;
    txn.commit()?;
    Ok(())
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
