//! The state that readers see: the index and the tables in memory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::legacy_names::LegacyNames;
use crate::{
    protocol::StreamName,
    storage::{
        Change, CommitError, IdMap, Position, Refused, StorageError, Stored, StreamId, StreamRecord, Usage,
        WriterState,
        data_files::DataFiles,
        index::{Snapshot, Totals, schema::storage_error},
        journal::{
            JournalRecord,
            entry::{self, Decoded},
        },
        memtable::{IndexLookups, Lookup, Memtable},
    },
};

/// The index and what it does not have yet.
#[derive(Debug)]
pub(super) struct View {
    /// The changes since the last checkpoint began.
    pub(super) mem: Memtable,
    /// The changes that a checkpoint is writing to the index.
    pub(super) frozen: Option<Arc<Frozen>>,
    pub(super) index: Arc<Snapshot>,
    /// The number of times the index was reopened.
    pub(super) generation: u64,
    /// The usage of all together.
    pub(super) usage: Usage,
}

/// An immutable table.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) mem: Memtable,
    /// The totals including the table.
    pub(super) totals: Totals,
}

impl View {
    pub(super) fn new(index: Snapshot, totals: &Totals, generation: u64) -> Self {
        Self {
            mem: Memtable::default(),
            frozen: None,
            index: Arc::new(index),
            generation,
            usage: Usage {
                streams: totals.streams,
                bytes: totals.bytes,
            },
        }
    }

    /// The tables in memory, the newest first.
    pub(super) fn tables(&self) -> impl DoubleEndedIterator<Item = &Memtable> + Clone {
        std::iter::once(&self.mem).chain(self.frozen_table())
    }

    /// The table that a checkpoint is writing to the index.
    pub(super) fn frozen_table(&self) -> Option<&Memtable> {
        self.frozen.as_ref().map(|frozen| &frozen.mem)
    }

    /// The estimated work of writing all tables to the index.
    pub(super) fn pending_cost(&self) -> u64 {
        self.tables().map(Memtable::cost).sum()
    }

    pub(super) fn record(&self, name: &StreamName) -> Result<Option<StreamRecord>, redb::Error> {
        for mem in self.tables() {
            match mem.record(name) {
                Lookup::Known((_, record)) => return Ok(Some(record.clone())),
                Lookup::Removed => return Ok(None),
                Lookup::AskBelow => {}
            }
        }
        self.index.record(name)
    }

    /// A record that the newest table does not have, and its name as spelled.
    fn record_below(&self, name: &StreamName) -> Result<Option<(StreamName, StreamRecord)>, redb::Error> {
        match self.frozen_table().map_or(Lookup::AskBelow, |mem| mem.record(name)) {
            Lookup::Known((spelled, record)) => Ok(Some((spelled.clone(), record.clone()))),
            Lookup::Removed => Ok(None),
            Lookup::AskBelow => match self.index.record(name)? {
                Some(record) => Ok(Some((self.index.spelling(name)?, record))),
                None => Ok(None),
            },
        }
    }

    /// The end of a stream.
    pub(super) fn tail(&self, id: StreamId) -> Result<Option<Position>, redb::Error> {
        match self.mem.tail(id) {
            Lookup::Known(tail) => Ok(Some(tail)),
            Lookup::Removed => Ok(None),
            Lookup::AskBelow => self.tail_below(id),
        }
    }

    /// The end of a stream that the newest table does not have.
    fn tail_below(&self, id: StreamId) -> Result<Option<Position>, redb::Error> {
        match self.frozen_table().map_or(Lookup::AskBelow, |mem| mem.tail(id)) {
            Lookup::Known(tail) => Ok(Some(tail)),
            Lookup::Removed => Ok(None),
            Lookup::AskBelow => self.index.tail(id),
        }
    }

    /// A stream's writers by key.
    pub(super) fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, redb::Error> {
        if self.tables().any(|mem| mem.removed.contains(&id)) {
            return Ok(Vec::new());
        }
        let oldest_first = self.tables().rev().filter_map(|mem| mem.streams.get(&id));
        let mut writers: BTreeMap<String, WriterState> = match oldest_first.clone().all(|pending| pending.indexed) {
            true => self.index.writers(id)?.collect::<Result<_, _>>()?,
            false => BTreeMap::new(),
        };
        for (key, state) in oldest_first.flat_map(|pending| &pending.writers) {
            match state {
                Some(state) => _ = writers.insert((**key).to_owned(), state.clone()),
                None => _ = writers.remove(&**key),
            }
        }
        Ok(writers.into_iter().collect())
    }

    pub(super) fn stored(&self, record: StreamRecord) -> Result<Stored, redb::Error> {
        let tail = self.tail(record.id)?.unwrap_or_else(|| record.first());
        Ok(Stored { record, tail, rev: 0 })
    }

    /// Checks that every change of a batch can be applied, and looks up what the index has of it.
    /// With `files`, an append to a stream with a damaged data file is refused.
    pub(super) fn check(
        &self,
        batch: &[Change],
        files: Option<&DataFiles>,
    ) -> Result<IndexLookups, CheckError<Refused>> {
        let mut checker = Checker {
            view: self,
            files,
            known: IndexLookups::default(),
            tails: IdMap::default(),
            names: HashMap::new(),
        };
        checker.check(batch)?;
        Ok(checker.known)
    }

    /// Whether a batch only frees space, by removing or trimming streams.
    pub(super) fn frees_space(&self, batch: &[Change]) -> Result<bool, redb::Error> {
        let mut frees = false;
        for change in batch {
            match change {
                Change::Remove { .. } => frees = true,
                Change::Put { name, record } => match self.record(name)? {
                    Some(old) if old.id == record.id => frees |= old.first() < record.first(),
                    _ => return Ok(false),
                },
                Change::Writer { state: None, .. } => {}
                Change::Append { .. } | Change::Writer { state: Some(_), .. } => return Ok(false),
            }
        }
        Ok(frees)
    }

    /// Applies a batch that was checked.
    pub(super) fn apply(&mut self, batch: &[Change], known: &IndexLookups) {
        for change in batch {
            let delta = self.mem.apply(change, known);
            self.usage.streams = self.usage.streams.saturating_add_signed(delta.streams);
            self.usage.bytes = self.usage.bytes.saturating_add_signed(delta.bytes);
        }
    }

    /// Applies records of the journal. Returns the lowest id that they do not reserve.
    pub(super) fn replay(&mut self, records: &[JournalRecord]) -> Result<StreamId, StorageError> {
        let mut ids = 0;
        let index = Arc::clone(&self.index);
        let mut names = LegacyNames::new(&index);
        for record in records {
            let malformed = |source| StorageError::Malformed {
                what: format!("record {} of the journal", record.seq),
                source,
            };
            let Decoded { batch, next_id } =
                entry::decode(&record.content, &mut names).map_err(|error| malformed(error.into()))?;
            ids = ids.max(next_id);
            // Data files are not checked: acknowledged changes are replayed in any case, and the
            // next append finds the damage.
            match self.check(&batch, None) {
                Ok(known) => self.apply(&batch, &known),
                Err(CheckError::Index(error)) => return Err(storage_error("reading the index", error)),
                Err(CheckError::Refused(refused)) => return Err(malformed(refused.into())),
            }
        }
        Ok(ids)
    }
}

/// A batch cannot be applied.
#[derive(Debug)]
pub(super) enum CheckError<E> {
    Refused(E),
    Index(redb::Error),
}

impl From<Refused> for CheckError<Refused> {
    fn from(error: Refused) -> Self {
        Self::Refused(error)
    }
}

impl<E> From<redb::Error> for CheckError<E> {
    fn from(error: redb::Error) -> Self {
        Self::Index(error)
    }
}

/// Checks a batch before it is written.
struct Checker<'v, 'b> {
    view: &'v View,
    files: Option<&'v DataFiles>,
    known: IndexLookups,
    /// Changes by the batch itself; `None`: removed.
    tails: IdMap<Option<Position>>,
    names: HashMap<&'b StreamName, Option<StreamId>>,
}

impl<'b> Checker<'_, 'b> {
    fn check(&mut self, batch: &'b [Change]) -> Result<(), CheckError<Refused>> {
        for change in batch {
            match change {
                Change::Put { name, record } => {
                    let old = self.name(name)?;
                    self.names.insert(name, Some(record.id));
                    if let Some(old) = old.filter(|old| *old != record.id) {
                        self.tail(old)?;
                        self.tails.insert(old, None);
                    }
                    if old != Some(record.id) && self.tail(record.id)?.is_none() {
                        self.tails.insert(record.id, Some(record.first()));
                    }
                }
                Change::Append { id, at, data } => {
                    let tail = self.tail(*id)?;
                    if tail != Some(*at) {
                        let tail = tail.unwrap_or(0);
                        return Err(Refused::TailMoved { id: *id, tail }.into());
                    }
                    if let Some(what) = self.damage(*id)? {
                        return Err(Refused::from(CommitError::Damaged { id: *id, what }).into());
                    }
                    let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
                    self.tails.insert(*id, Some(at + len));
                }
                Change::Writer { id, .. } => {
                    self.tail(*id)?;
                }
                Change::Remove { name, id } => {
                    if self.name(name)? == Some(*id) {
                        self.tail(*id)?;
                        self.names.insert(name, None);
                        self.tails.insert(*id, None);
                    }
                }
            }
        }
        Ok(())
    }

    /// The damage of a stream, if any. Checked once per checkpoint.
    fn damage(&mut self, id: StreamId) -> Result<Option<String>, redb::Error> {
        let Some(files) = self.files else { return Ok(None) };
        let mut pending = self.view.tables().filter_map(|mem| mem.streams.get(&id));
        if pending.any(|pending| pending.verified) || self.known.verified.contains(&id) {
            return Ok(None);
        }
        if let Some(hole) = self.view.index.hole(id)? {
            return Ok(Some(format!("the bytes from {} to {} are lost", hole.start, hole.end)));
        }
        if let Some(extent) = self.view.index.extent(id)?
            && let Some(found) = files.shorter_than(id, extent.len)?
        {
            let what = format!(
                "its data file has {found} of the {} bytes that were acknowledged",
                extent.len
            );
            return Ok(Some(what));
        }
        self.known.verified.insert(id);
        Ok(None)
    }

    /// The stream that has a name.
    fn name(&mut self, name: &'b StreamName) -> Result<Option<StreamId>, redb::Error> {
        if let Some(changed) = self.names.get(name) {
            return Ok(*changed);
        }
        let holder = match self.view.mem.record(name) {
            Lookup::Known((_, record)) => Some(record.id),
            Lookup::Removed => None,
            Lookup::AskBelow => self.view.record_below(name)?.map(|(spelled, record)| {
                let id = record.id;
                self.known.records.insert(spelled, record);
                id
            }),
        };
        self.names.insert(name, holder);
        Ok(holder)
    }

    fn tail(&mut self, id: StreamId) -> Result<Option<Position>, redb::Error> {
        if let Some(changed) = self.tails.get(&id) {
            return Ok(*changed);
        }
        let tail = match self.view.mem.tail(id) {
            Lookup::Known(tail) => Some(tail),
            Lookup::Removed => None,
            Lookup::AskBelow => {
                let tail = self.view.tail_below(id)?;
                self.known.tails.extend(tail.map(|tail| (id, tail)));
                tail
            }
        };
        self.tails.insert(id, tail);
        Ok(tail)
    }
}
