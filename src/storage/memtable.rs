//! What the journal holds and the index does not: changes in memory, until a checkpoint.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ops::Bound,
};

use bytes::Bytes;

use crate::{
    protocol::{Millis, StreamName},
    storage::{Change, Position, StreamId, StreamRecord, WriterState, segments::Segments},
};

/// What one entry of the table counts for against the size of a checkpoint, besides its bytes.
const ENTRY_COST: u64 = 1024;

/// The changes since the last checkpoint.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    /// Records that were written, and names that were removed.
    pub(super) names: BTreeMap<StreamName, Option<StreamRecord>>,
    /// When the records in `names` are due.
    pub(super) due: BTreeSet<(Millis, StreamName)>,
    /// Streams that have grown or are new.
    pub(super) streams: BTreeMap<StreamId, Grown>,
    /// Streams of the index that were removed.
    pub(super) removed: BTreeSet<StreamId>,
    /// Streams that have given up a part of their past, and from where on they keep the rest.
    pub(super) trimmed: BTreeMap<StreamId, Position>,
    /// About how much work a checkpoint is, in bytes.
    cost: u64,
}

/// What a stream has besides what the index has of it.
#[derive(Debug)]
pub(super) struct Grown {
    pub(super) segments: Segments,
    /// Whether the index knows the stream.
    pub(super) indexed: bool,
    /// Whether its data file has been found to be as long as the index says.
    pub(super) verified: bool,
    /// Writers that have written; `None`: forgotten.
    pub(super) writers: BTreeMap<Box<str>, Option<WriterState>>,
}

impl Grown {
    fn new(start: Position, indexed: bool) -> Self {
        Self {
            segments: Segments::starting_at(start),
            indexed,
            verified: !indexed,
            writers: BTreeMap::new(),
        }
    }
}

/// What the index says about what a batch touches and the table does not have.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) records: HashMap<StreamName, StreamRecord>,
    pub(super) tails: HashMap<StreamId, Position>,
    /// Streams whose data files are as long as the index says.
    pub(super) verified: HashSet<StreamId>,
}

/// By how much a batch changes the totals.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Effect {
    pub(super) streams: i64,
    pub(super) bytes: i64,
}

impl Memtable {
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.streams.is_empty() && self.removed.is_empty()
    }

    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    /// Where a stream ends: `Some(None)` when it was removed, `None` when the index knows.
    pub(super) fn tail(&self, id: StreamId) -> Option<Option<Position>> {
        match self.streams.get(&id) {
            Some(grown) => Some(Some(grown.segments.tail())),
            None => self.removed.contains(&id).then_some(None),
        }
    }

    /// Names and records from `from` on.
    pub(super) fn records(&self, from: Bound<&str>) -> impl Iterator<Item = (&StreamName, Option<&StreamRecord>)> {
        let range = self.names.range::<str, _>((from, Bound::Unbounded));
        range.map(|(name, record)| (name, record.as_ref()))
    }

    /// Does what one step of a batch says. The batch was checked, and `known` is what the index
    /// has of all that it touches.
    pub(super) fn apply(&mut self, change: &Change, known: &Known) -> Effect {
        match change {
            Change::Put { name, record } => self.put(name, record, known),
            Change::Append { id, data, .. } => self.append(*id, data, known),
            Change::Writer { id, key, state } => {
                if let Some(grown) = self.grown(*id, known) {
                    grown.writers.insert(key.as_str().into(), state.clone());
                    self.cost += ENTRY_COST;
                }
                Effect::default()
            }
            Change::Remove { name, id } => self.remove(name, *id, known),
        }
    }

    fn grown(&mut self, id: StreamId, known: &Known) -> Option<&mut Grown> {
        if !self.streams.contains_key(&id) {
            if self.removed.contains(&id) {
                return None;
            }
            self.streams.insert(id, Grown::new(*known.tails.get(&id)?, true));
            self.cost += ENTRY_COST;
        }
        self.streams.get_mut(&id)
    }

    fn append(&mut self, id: StreamId, data: &[Bytes], known: &Known) -> Effect {
        let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
        let Some(grown) = self.grown(id, known) else {
            debug_assert!(false, "an append to stream {id} was not checked");
            return Effect::default();
        };
        grown.verified |= known.verified.contains(&id);
        data.iter()
            .filter(|piece| !piece.is_empty())
            .for_each(|piece| grown.segments.append(piece));
        self.cost += len;
        Effect {
            streams: 0,
            bytes: signed(len),
        }
    }

    fn put(&mut self, name: &StreamName, record: &StreamRecord, known: &Known) -> Effect {
        let mut effect = Effect::default();
        let (spelled, old) = match self.names.remove_entry(name) {
            Some((spelled, old)) => (Some(spelled), old),
            None => known
                .records
                .get_key_value(name)
                .map_or((None, None), |(spelled, old)| {
                    (Some(spelled.clone()), Some(old.clone()))
                }),
        };
        // A stream keeps the spelling of its creator.
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
                    effect.bytes -= signed(record.first() - old.first());
                }
                return effect;
            }
            Some(old) => effect.bytes -= self.discard(old.id, old.first(), known),
            None => effect.streams += 1,
        }
        if self.grown(record.id, known).is_none() {
            self.streams.insert(record.id, Grown::new(record.first(), false));
        }
        effect
    }

    fn remove(&mut self, name: &StreamName, id: StreamId, known: &Known) -> Effect {
        let old = match self.names.get(name) {
            Some(old) => old.as_ref(),
            None => known.records.get(name),
        };
        let Some((first, due_at)) = old.filter(|old| old.id == id).map(|old| (old.first(), old.due_at)) else {
            return Effect::default();
        };
        if let Some(due_at) = due_at {
            self.due.remove(&(due_at, name.clone()));
        }
        self.names.insert(name.clone(), None);
        self.cost += ENTRY_COST;
        Effect {
            streams: -1,
            bytes: -self.discard(id, first, known),
        }
    }

    /// Forgets a stream's bytes; returns how many they were.
    fn discard(&mut self, id: StreamId, first: Position, known: &Known) -> i64 {
        let grown = self.streams.remove(&id);
        self.trimmed.remove(&id);
        let tail = match &grown {
            Some(grown) => grown.segments.tail(),
            None => known.tails.get(&id).copied().unwrap_or(first),
        };
        if grown.is_none_or(|grown| grown.indexed) {
            self.removed.insert(id);
        }
        signed(tail.saturating_sub(first))
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
