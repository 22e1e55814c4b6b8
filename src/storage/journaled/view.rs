//! The store at one moment, and how a batch changes it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    base::{Snapshot, Totals, schema::storage_error},
    entry::{self, Decoded},
    files::DataFiles,
    former::FormerNames,
    journal::Recovered,
    memtable::{Known, Memtable},
};
use crate::{
    protocol::StreamName,
    storage::{
        Change, CommitError, Position, Refused, StorageError, Stored, StreamId, StreamRecord, Usage, WriterState,
    },
};

/// What the index has, and what it does not have yet.
#[derive(Debug)]
pub(super) struct View {
    pub(super) mem: Memtable,
    pub(super) index: Arc<Snapshot>,
    /// How often the index was opened.
    pub(super) generation: u64,
    /// What both hold together.
    pub(super) usage: Usage,
}

impl View {
    pub(super) fn new(index: Snapshot, totals: &Totals, generation: u64) -> Self {
        Self {
            mem: Memtable::default(),
            index: Arc::new(index),
            generation,
            usage: Usage {
                streams: totals.streams,
                bytes: totals.bytes,
            },
        }
    }

    pub(super) fn record(&self, name: &StreamName) -> Result<Option<StreamRecord>, redb::Error> {
        match self.mem.names.get(name) {
            Some(record) => Ok(record.clone()),
            None => self.index.record(name),
        }
    }

    /// Where a stream ends.
    pub(super) fn tail(&self, id: StreamId) -> Result<Option<Position>, redb::Error> {
        match self.mem.tail(id) {
            Some(known) => Ok(known),
            None => self.index.tail(id),
        }
    }

    /// Where a stream's writers stand.
    pub(super) fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, redb::Error> {
        if self.mem.removed.contains(&id) {
            return Ok(Vec::new());
        }
        let changed = self.mem.streams.get(&id);
        let mut writers: BTreeMap<String, WriterState> = match changed {
            Some(grown) if !grown.indexed => BTreeMap::new(),
            _ => self.index.writers(id)?.collect::<Result<_, _>>()?,
        };
        for (key, state) in changed.into_iter().flat_map(|grown| &grown.writers) {
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

    /// Whether every step of a batch can be applied, and what the index has of what it touches.
    /// With `files`, nothing is added to a stream whose data file is not what the index says.
    pub(super) fn check(
        &self,
        batch: &[Change],
        files: Option<&DataFiles>,
    ) -> Result<Result<Known, Refused>, redb::Error> {
        let mut checker = Checker {
            view: self,
            files,
            known: Known::default(),
            tails: HashMap::new(),
            names: HashMap::new(),
        };
        Ok(checker.check(batch)?.map(|()| checker.known))
    }

    /// Whether a batch makes room, by removing streams or giving up their past, and adds nothing.
    pub(super) fn makes_room(&self, batch: &[Change]) -> Result<bool, redb::Error> {
        let mut makes_room = false;
        for change in batch {
            match change {
                Change::Remove { .. } => makes_room = true,
                Change::Put { name, record } => match self.record(name)? {
                    Some(old) if old.id == record.id => makes_room |= old.first() < record.first(),
                    _ => return Ok(false),
                },
                Change::Writer { state: None, .. } => {}
                Change::Append { .. } | Change::Writer { state: Some(_), .. } => return Ok(false),
            }
        }
        Ok(makes_room)
    }

    /// Does what a batch says that was checked.
    pub(super) fn apply(&mut self, batch: &[Change], known: &Known) {
        for change in batch {
            let effect = self.mem.apply(change, known);
            self.usage.streams = self.usage.streams.saturating_add_signed(effect.streams);
            self.usage.bytes = self.usage.bytes.saturating_add_signed(effect.bytes);
        }
    }

    /// Does what the journal says. Returns below which id some may be in use.
    pub(super) fn replay(&mut self, recovered: &[Recovered]) -> Result<StreamId, StorageError> {
        let mut ids = 0;
        let index = Arc::clone(&self.index);
        let mut names = FormerNames::new(&index);
        for record in recovered {
            let damaged = |what: String| StorageError::Corrupt(format!("record {} of the journal: {what}", record.seq));
            let Decoded { batch, next_id } = entry::decode(&record.content, &mut names).map_err(damaged)?;
            ids = ids.max(next_id);
            // Acknowledged changes are replayed; the next append finds damaged data files.
            let checked = self.check(&batch, None);
            match checked.map_err(|error| storage_error("reading the index", error))? {
                Ok(known) => self.apply(&batch, &known),
                Err(refused) => return Err(damaged(refused.to_string())),
            }
        }
        Ok(ids)
    }
}

/// Goes through a batch before it is written.
struct Checker<'v, 'b> {
    view: &'v View,
    files: Option<&'v DataFiles>,
    known: Known,
    /// What the batch itself has changed so far; `None`: removed.
    tails: HashMap<StreamId, Option<Position>>,
    names: HashMap<&'b StreamName, Option<StreamId>>,
}

impl<'b> Checker<'_, 'b> {
    fn check(&mut self, batch: &'b [Change]) -> Result<Result<(), Refused>, redb::Error> {
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
                        return Ok(Err(Refused::TailMoved { id: *id, tail }));
                    }
                    if let Some(what) = self.damage(*id)? {
                        return Ok(Err(CommitError::Damaged { id: *id, what }.into()));
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
        Ok(Ok(()))
    }

    /// The damage of a stream, if any. Checked once between two checkpoints.
    fn damage(&mut self, id: StreamId) -> Result<Option<String>, redb::Error> {
        let Some(files) = self.files else { return Ok(None) };
        let grown = self.view.mem.streams.get(&id);
        if grown.is_some_and(|grown| grown.verified) || self.known.verified.contains(&id) {
            return Ok(None);
        }
        if let Some(hole) = self.view.index.hole(id)? {
            return Ok(Some(format!("the bytes from {} to {} are lost", hole.start, hole.end)));
        }
        if let Some(run) = self.view.index.run(id)?
            && let Some(found) = files.is_short(id, run.len)?
        {
            let what = format!(
                "its data file has {found} of the {} bytes that were acknowledged",
                run.len
            );
            return Ok(Some(what));
        }
        self.known.verified.insert(id);
        Ok(None)
    }

    /// Whose name it is.
    fn name(&mut self, name: &'b StreamName) -> Result<Option<StreamId>, redb::Error> {
        if let Some(changed) = self.names.get(name) {
            return Ok(*changed);
        }
        let record = match self.view.mem.names.get(name) {
            Some(record) => record.as_ref().map(|record| record.id),
            None => {
                let record: Option<StreamRecord> = self.view.index.record(name)?;
                let id = record.as_ref().map(|record| record.id);
                if let Some(record) = record {
                    self.known.records.insert(self.view.index.spelled(name)?, record);
                }
                id
            }
        };
        self.names.insert(name, record);
        Ok(record)
    }

    fn tail(&mut self, id: StreamId) -> Result<Option<Position>, redb::Error> {
        if let Some(changed) = self.tails.get(&id) {
            return Ok(*changed);
        }
        let tail = match self.view.mem.tail(id) {
            Some(known) => known,
            None => {
                let tail = self.view.index.tail(id)?;
                self.known.tails.extend(tail.map(|tail| (id, tail)));
                tail
            }
        };
        self.tails.insert(id, tail);
        Ok(tail)
    }
}
