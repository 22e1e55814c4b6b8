//! Writing: batches into the journal, and now and then the table in memory into the index.

use std::{collections::HashMap, io};

use super::{
    JournaledStore, View, Writer,
    base::{
        self, Checkpoint, Run, Snapshot,
        schema::{needs_reopen, storage_error},
    },
    disk::is_full,
    entry::{self, Decoded, Encoded},
    journal::Recovered,
    memtable::{Known, Memtable},
};
use crate::{
    protocol::StreamName,
    storage::{Change, CommitError, Position, StorageError, StreamId, StreamRecord},
};

/// What is left free on the disk, so that streams can still be deleted when it is full.
const RESERVE: u64 = 1024 * 1024;

/// What a change may cost on the way to the disk besides its bytes: pages of the index.
const CHANGE_COST: u64 = 8 * 1024;

/// How many times the usual size the table may reach when checkpoints fail.
const OVERDUE: u64 = 8;

impl JournaledStore {
    pub(crate) fn commit(&self, batch: &[Change]) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock();
        let content = Encoded::batch(batch).map_err(|error| StorageError::Corrupt(error.to_string()))?;
        if batch.iter().any(|change| !matches!(change, Change::Remove { .. })) {
            let cost = 2 * content.len() + CHANGE_COST * batch.len() as u64;
            self.check_room(&mut writer, cost, content.len())?;
        }
        let known = self.check(&mut writer, batch)?;
        if self.view.read().mem.cost() > OVERDUE * self.options.checkpoint_bytes {
            self.checkpoint(&mut writer)?;
        }
        let appended = writer.journal.append(&content);
        appended.map_err(|error| commit_error("writing the journal", error))?;
        self.apply(batch, &known);
        self.checkpoint_if_due(&mut writer);
        Ok(())
    }

    pub(crate) fn reserve_ids(&self, count: u64) -> Result<StreamId, CommitError> {
        let mut writer = self.writer.lock();
        let first = writer.next_id;
        let next = first.saturating_add(count);
        let content = Encoded::next_id(next).map_err(|error| StorageError::Corrupt(error.to_string()))?;
        let appended = writer.journal.append(&content);
        appended.map_err(|error| commit_error("writing the journal", error))?;
        writer.next_id = next;
        self.checkpoint_if_due(&mut writer);
        Ok(first)
    }

    pub(crate) fn maintain(&self) -> Result<bool, CommitError> {
        let mut writer = self.writer.lock();
        let due = {
            let view = self.view.read();
            !view.mem.removed.is_empty() || view.mem.cost() > self.options.checkpoint_bytes / 2
        };
        if due {
            self.checkpoint(&mut writer)?;
            return Ok(writer.garbage);
        }
        if !writer.garbage {
            return Ok(false);
        }
        let (freed, more) = self.on_index(&mut writer, "giving space back", |db| {
            base::reclaim(db, |id| self.files.remove(id))
        })?;
        writer.credit += freed;
        writer.garbage = more;
        Ok(more)
    }

    /// Brings the table in memory to the index, and begins the journal anew.
    pub(super) fn checkpoint(&self, writer: &mut Writer) -> Result<(), CommitError> {
        if self.view.read().mem.is_empty() && writer.journal.len() == 0 {
            return Ok(());
        }
        let runs = self.write_files(writer)?;
        let totals = self.totals(writer);
        let garbage = !self.view.read().mem.removed.is_empty();
        // Nobody else changes the view while the writer is locked; readers go on.
        let done = self.on_index(writer, "writing the index", |db| {
            let view = self.view.read();
            base::checkpoint(
                db,
                &Checkpoint {
                    mem: &view.mem,
                    runs: &runs,
                    totals,
                },
            )
        });
        if let Err(error) = done {
            // It failed, unless it turned out otherwise when the index was opened anew.
            return if self.view.read().mem.is_empty() {
                Ok(())
            } else {
                Err(error)
            };
        }
        self.view.write().mem = Memtable::default();
        writer.journal.restart();
        writer.garbage |= garbage;
        writer.retry_at = 0;
        Ok(())
    }

    fn checkpoint_if_due(&self, writer: &mut Writer) {
        let cost = self.view.read().mem.cost().max(writer.journal.len());
        if cost < self.options.checkpoint_bytes.max(writer.retry_at) {
            return;
        }
        if let Err(error) = self.checkpoint(writer) {
            // What was committed is safe in the journal.
            tracing::error!(%error, "a checkpoint failed and will be tried again");
            writer.retry_at = cost + self.options.checkpoint_bytes / 4;
        }
    }

    /// Writes what streams with data files have grown by, and makes it durable. What is in a
    /// file behind what the index counts does not matter, so a failure leaves nothing behind.
    fn write_files(&self, writer: &mut Writer) -> Result<HashMap<StreamId, Run>, CommitError> {
        let runs = self.twice_on_view(writer, "reading the index", |view| self.plan_files(view))?;
        let view = self.view.read();
        let (mut written, mut new) = (Vec::new(), Vec::new());
        for (id, run) in &runs {
            let Some(grown) = view.mem.streams.get(id) else {
                continue;
            };
            let offset = grown.segments.start() - run.start;
            let done = self.files.write(*id, offset, &grown.segments);
            done.map_err(|error| commit_error("writing a data file", error))?;
            written.push(*id);
            if offset == 0 {
                new.push(*id);
            }
        }
        let synced = self.files.sync(&written, &new);
        synced.map_err(|error| commit_error("syncing data files", error))?;
        Ok(runs)
    }

    /// Which streams' new bytes go to files, and what will count of the files then.
    fn plan_files(&self, view: &View) -> Result<HashMap<StreamId, Run>, redb::Error> {
        let mut runs = HashMap::new();
        for (id, grown) in &view.mem.streams {
            let (start, tail) = (grown.segments.start(), grown.segments.tail());
            if start == tail {
                continue;
            }
            let begin = match view.index.run(*id)? {
                Some(run) => Some(run.start),
                None => {
                    let first = if grown.indexed {
                        view.index.first_row(*id)?
                    } else {
                        None
                    };
                    let total = tail - first.unwrap_or(start);
                    self.options.spill.is_some_and(|limit| total >= limit).then_some(start)
                }
            };
            if let Some(begin) = begin {
                let len = tail - begin;
                runs.insert(*id, Run { start: begin, len });
            }
        }
        Ok(runs)
    }

    /// Runs `work`, which writes to the index, and lets readers see what it did.
    fn on_index<T>(
        &self,
        writer: &mut Writer,
        context: &str,
        work: impl Fn(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<T, CommitError> {
        let generation = self.view.read().generation;
        if writer.db.is_none() {
            self.reopen(writer, generation)?;
        }
        let Some(db) = &writer.db else {
            return Err(index_error(context, redb::Error::DatabaseClosed));
        };
        match work(db).and_then(|done| Ok((done, Snapshot::take(db)?))) {
            Ok((done, index)) => {
                self.view.write().index = std::sync::Arc::new(index);
                Ok(done)
            }
            Err(error) => {
                if needs_reopen(&error)
                    && let Err(error) = self.reopen(writer, generation)
                {
                    tracing::error!(%error, "the index cannot be opened anew after an I/O error");
                }
                Err(index_error(context, error))
            }
        }
    }

    /// Runs `work` on what the store is, and once more when the index had to be opened anew.
    fn twice_on_view<T>(
        &self,
        writer: &mut Writer,
        context: &str,
        work: impl Fn(&View) -> Result<T, redb::Error>,
    ) -> Result<T, CommitError> {
        let (done, generation) = {
            let view = self.view.read();
            (work(&view), view.generation)
        };
        let again = match done {
            Err(error) if needs_reopen(&error) => {
                self.reopen(writer, generation)?;
                work(&self.view.read())
            }
            done => done,
        };
        again.map_err(|error| index_error(context, error))
    }

    /// Whether every step of a batch can be applied, and what the index has of what it touches.
    fn check(&self, writer: &mut Writer, batch: &[Change]) -> Result<Known, CommitError> {
        self.twice_on_view(writer, "reading the index", |view| {
            let mut checker = Checker {
                view,
                known: Known::default(),
                tails: HashMap::new(),
                names: HashMap::new(),
            };
            Ok(match checker.check(batch)? {
                Ok(()) => Ok(checker.known),
                Err(refused) => Err(refused),
            })
        })?
    }

    fn apply(&self, batch: &[Change], known: &Known) {
        use std::sync::atomic::Ordering;
        let mut view = self.view.write();
        let (mut streams, mut bytes) = (0i64, 0i64);
        for change in batch {
            let effect = view.mem.apply(change, known);
            streams += effect.streams;
            bytes += effect.bytes;
        }
        // Two's complement: adding what is negative as unsigned takes it away.
        self.streams.fetch_add(streams.cast_unsigned(), Ordering::Relaxed);
        self.bytes.fetch_add(bytes.cast_unsigned(), Ordering::Relaxed);
    }

    /// Brings what the journal holds into the table in memory, at the start.
    pub(super) fn replay(&self, recovered: &[Recovered]) -> Result<(), StorageError> {
        let mut writer = self.writer.lock();
        for record in recovered {
            let damaged = |what: String| StorageError::Corrupt(format!("record {} of the journal: {what}", record.seq));
            let Decoded { batch, next_id } = entry::decode(&record.content).map_err(damaged)?;
            writer.next_id = writer.next_id.max(next_id);
            match self.check(&mut writer, &batch) {
                Ok(known) => self.apply(&batch, &known),
                Err(CommitError::Storage(error)) => return Err(error),
                Err(refused) => return Err(damaged(refused.to_string())),
            }
        }
        Ok(())
    }

    /// Refuses what the disk has no room for, now or at the next checkpoint.
    fn check_room(&self, writer: &mut Writer, cost: u64, content: u64) -> Result<(), CommitError> {
        let Some(free) = self.disk.free() else { return Ok(()) };
        let needed = RESERVE + writer.journal.growth(content) + cost;
        let waiting = 2 * self.view.read().mem.cost();
        if free >= needed + waiting {
            writer.credit = 0;
            return Ok(());
        }
        if waiting > 0 {
            // Then it is known what the waiting really takes.
            self.checkpoint(writer)?;
            return self.check_room(writer, cost, content);
        }
        if writer.credit < cost {
            return Err(CommitError::Full(format!("the disk has {free} bytes left")));
        }
        writer.credit -= cost;
        Ok(())
    }
}

/// Goes through a batch before it is written.
struct Checker<'v, 'b> {
    view: &'v View,
    known: Known,
    /// What the batch itself has changed so far; `None`: removed.
    tails: HashMap<StreamId, Option<Position>>,
    names: HashMap<&'b StreamName, Option<StreamId>>,
}

impl<'b> Checker<'_, 'b> {
    fn check(&mut self, batch: &'b [Change]) -> Result<Result<(), CommitError>, redb::Error> {
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
                        self.tails.insert(record.id, Some(record.start));
                    }
                }
                Change::Append { id, at, data } => {
                    let tail = self.tail(*id)?;
                    if tail != Some(*at) {
                        let tail = tail.unwrap_or(0);
                        return Ok(Err(CommitError::TailMoved { id: *id, tail }));
                    }
                    let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
                    self.tails.insert(*id, Some(at + len));
                }
                Change::Producer { id, .. } => {
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
                self.known.records.extend(record.map(|record| (name.clone(), record)));
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

fn commit_error(context: &str, source: io::Error) -> CommitError {
    if is_full(&source) {
        return CommitError::Full(format!("{context}: {source}"));
    }
    CommitError::Storage(StorageError::Io {
        context: context.to_owned(),
        source,
    })
}

fn index_error(context: &str, error: redb::Error) -> CommitError {
    match error {
        redb::Error::Io(source) if is_full(&source) => commit_error(context, source),
        error => CommitError::Storage(storage_error(context, error)),
    }
}
