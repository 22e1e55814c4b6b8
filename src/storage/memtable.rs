//! Changes that are in the journal and not yet in the index, until a checkpoint writes them.
//!
//! While a checkpoint writes a table, further changes go to a new one. To that one, *the index* is
//! the index with the older table in it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map},
    ops::Bound,
};

use bytes::Bytes;
use rustc_hash::FxHashSet;

use crate::{
    protocol::{Millis, StreamName},
    storage::{Change, IdMap, Position, StreamId, StreamRecord, WriterState, segments::Segments},
};

/// The estimated cost of writing one entry to the index, besides its bytes.
const ENTRY_COST: u64 = 1024;

/// The changes since the last checkpoint.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    /// Records written; `None`: removed.
    pub(super) names: BTreeMap<StreamName, Option<StreamRecord>>,
    /// Due times of the records in `names`.
    due: BTreeSet<(Millis, StreamName)>,
    /// New streams, and appends and writers of others.
    pub(super) streams: BTreeMap<StreamId, PendingStream>,
    /// Removed streams that the index still has.
    pub(super) removed: BTreeSet<StreamId>,
    /// Trimmed streams and the first position they keep.
    pub(super) trimmed: BTreeMap<StreamId, Position>,
    /// The estimated work of a checkpoint, in bytes.
    cost: u64,
}

/// The part of a stream that the index does not have.
#[derive(Debug)]
pub(super) struct PendingStream {
    pub(super) segments: Segments,
    /// Whether the index knows the stream.
    pub(super) indexed: bool,
    /// Whether its data file is known to have the length that the index expects.
    pub(super) verified: bool,
    /// Changed writers; `None`: removed.
    pub(super) writers: BTreeMap<Box<str>, Option<WriterState>>,
}

impl PendingStream {
    fn new(start: Position, indexed: bool) -> Self {
        Self {
            segments: Segments::starting_at(start),
            indexed,
            verified: !indexed,
            writers: BTreeMap::new(),
        }
    }
}

/// The data that the index has about the streams of a batch.
#[derive(Debug, Default)]
pub(super) struct IndexLookups {
    pub(super) records: HashMap<StreamName, StreamRecord>,
    pub(super) tails: IdMap<Position>,
    /// Streams whose data files have the length that the index expects.
    pub(super) verified: FxHashSet<StreamId>,
}

/// The change that a batch makes to the usage.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct UsageDelta {
    pub(super) streams: i64,
    pub(super) bytes: i64,
}

/// The answer to a question that the table may have to pass on to what is below it: an older table or
/// the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lookup<T> {
    Known(T),
    Removed,
    AskBelow,
}

impl Memtable {
    /// Whether a checkpoint leaves something to reclaim.
    pub(super) fn frees_space(&self) -> bool {
        !self.removed.is_empty() || !self.trimmed.is_empty()
    }

    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    /// The record of a name, and the name as spelled.
    pub(super) fn record(&self, name: &StreamName) -> Lookup<(&StreamName, &StreamRecord)> {
        match self.names.get_key_value(name) {
            Some((spelled, Some(record))) => Lookup::Known((spelled, record)),
            Some((_, None)) => Lookup::Removed,
            None => Lookup::AskBelow,
        }
    }

    /// The end of a stream.
    pub(super) fn tail(&self, id: StreamId) -> Lookup<Position> {
        match self.streams.get(&id) {
            Some(pending) => Lookup::Known(pending.segments.tail()),
            None if self.removed.contains(&id) => Lookup::Removed,
            None => Lookup::AskBelow,
        }
    }

    /// Whether the record of a name was written or removed.
    pub(super) fn has_changed(&self, name: &StreamName) -> bool {
        self.names.contains_key(name)
    }

    /// Due times up to `now`, and the names that have them.
    pub(super) fn due_until(&self, now: Millis) -> impl Iterator<Item = &(Millis, StreamName)> {
        self.due.iter().take_while(move |(at, _)| *at <= now)
    }

    /// Changed names in order, beginning at `from`, with their records; `None`: removed.
    pub(super) fn records(&self, from: Bound<&str>) -> impl Iterator<Item = (&StreamName, Option<&StreamRecord>)> {
        let range = self.names.range::<str, _>((from, Bound::Unbounded));
        range.map(|(name, record)| (name, record.as_ref()))
    }

    /// Applies one change of a batch that was checked.
    pub(super) fn apply(&mut self, change: &Change, known: &IndexLookups) -> UsageDelta {
        match change {
            Change::Put { name, record } => self.put(name, record, known),
            Change::Append { id, data, .. } => self.append(*id, data, known),
            Change::Writer { id, key, state } => {
                if let Some(pending) = self.pending(*id, known) {
                    pending.writers.insert(key.as_str().into(), state.clone());
                    self.cost += ENTRY_COST;
                }
                UsageDelta::default()
            }
            Change::Remove { name, id } => self.remove(name, *id, known),
        }
    }

    fn pending(&mut self, id: StreamId, known: &IndexLookups) -> Option<&mut PendingStream> {
        match self.streams.entry(id) {
            btree_map::Entry::Occupied(pending) => Some(pending.into_mut()),
            btree_map::Entry::Vacant(_) if self.removed.contains(&id) => None,
            btree_map::Entry::Vacant(vacant) => {
                let start = *known.tails.get(&id)?;
                self.cost += ENTRY_COST;
                Some(vacant.insert(PendingStream::new(start, true)))
            }
        }
    }

    fn append(&mut self, id: StreamId, data: &[Bytes], known: &IndexLookups) -> UsageDelta {
        let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
        let Some(pending) = self.pending(id, known) else {
            debug_assert!(false, "an append to stream {id} was not checked");
            return UsageDelta::default();
        };
        pending.verified |= known.verified.contains(&id);
        data.iter()
            .filter(|piece| !piece.is_empty())
            .for_each(|piece| pending.segments.append(piece));
        self.cost += len;
        UsageDelta {
            streams: 0,
            bytes: signed(len),
        }
    }

    fn put(&mut self, name: &StreamName, record: &StreamRecord, known: &IndexLookups) -> UsageDelta {
        let mut delta = UsageDelta::default();
        let (spelled, old) = match self.names.remove_entry(name) {
            Some((spelled, old)) => (Some(spelled), old),
            None => known
                .records
                .get_key_value(name)
                .map_or((None, None), |(spelled, old)| {
                    (Some(spelled.clone()), Some(old.clone()))
                }),
        };
        // A stream keeps the spelling of its creation.
        let same = old.as_ref().is_some_and(|old| old.id == record.id);
        let spelled = spelled.filter(|_| same).unwrap_or_else(|| name.clone());
        self.names.insert(spelled, Some(record.clone()));
        self.cost += ENTRY_COST;
        if let Some(due_at) = old.as_ref().and_then(|old| old.due_at) {
            self.due.remove(&(due_at, name.clone()));
        }
        if let Some(due_at) = record.due_at {
            self.due.insert((due_at, name.clone()));
        }
        match old {
            Some(old) if old.id == record.id => {
                if record.first() > old.first() {
                    self.trimmed.insert(record.id, record.first());
                    delta.bytes -= signed(record.first() - old.first());
                }
                return delta;
            }
            Some(old) => delta.bytes -= self.discard(old.id, old.first(), known),
            None => delta.streams += 1,
        }
        if self.pending(record.id, known).is_none() {
            self.streams
                .insert(record.id, PendingStream::new(record.first(), false));
        }
        delta
    }

    fn remove(&mut self, name: &StreamName, id: StreamId, known: &IndexLookups) -> UsageDelta {
        let old = match self.names.get(name) {
            Some(old) => old.as_ref(),
            None => known.records.get(name),
        };
        let Some((first, due_at)) = old.filter(|old| old.id == id).map(|old| (old.first(), old.due_at)) else {
            return UsageDelta::default();
        };
        if let Some(due_at) = due_at {
            self.due.remove(&(due_at, name.clone()));
        }
        self.names.insert(name.clone(), None);
        self.cost += ENTRY_COST;
        UsageDelta {
            streams: -1,
            bytes: -self.discard(id, first, known),
        }
    }

    /// Drops a stream's bytes and returns their number.
    fn discard(&mut self, id: StreamId, first: Position, known: &IndexLookups) -> i64 {
        let pending = self.streams.remove(&id);
        self.trimmed.remove(&id);
        let tail = match &pending {
            Some(pending) => pending.segments.tail(),
            None => known.tails.get(&id).copied().unwrap_or(first),
        };
        if pending.is_none_or(|pending| pending.indexed) {
            self.removed.insert(id);
        }
        signed(tail.saturating_sub(first))
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
