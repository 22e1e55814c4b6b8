//! Writing: batches into the journal, and now and then the table in memory into the index.

use std::{collections::BTreeMap, io, ops::Range};

use super::{
    JournaledStore, Writer,
    base::{
        self, Checkpoint, Run, Snapshot,
        schema::{needs_reopen, storage_error},
    },
    disk::is_full,
    entry::Encoded,
    memtable::Memtable,
    view::View,
};
use crate::storage::{Change, CommitError, Position, Refused, StorageError, StreamId};

/// What is left free on the disk, so that streams can still be deleted, and give up their past,
/// when it is full.
const RESERVE: u64 = 1024 * 1024;

/// What a change may cost on the way to the disk besides its bytes: pages of the index.
const CHANGE_COST: u64 = 8 * 1024;

/// The ranges that streams have lost.
type Holes = Vec<(StreamId, Range<Position>)>;

/// How many times the usual size the table may reach when checkpoints fail.
const OVERDUE: u64 = 8;

impl JournaledStore {
    pub(crate) fn commit(&self, batch: &[Change]) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock();
        let content = Encoded::batch(batch).map_err(|error| StorageError::Corrupt(error.to_string()))?;
        if batch.iter().any(|change| !matches!(change, Change::Remove { .. })) {
            let cost = 2 * content.len() + CHANGE_COST * batch.len() as u64;
            if let Err(refused) = self.check_room(&mut writer, cost, content.len()) {
                let makes_room = |view: &View| view.makes_room(batch);
                let is_full = matches!(refused, CommitError::Full(_));
                if !is_full || !self.twice_on_view(&mut writer, "reading the index", makes_room)? {
                    return Err(refused.into());
                }
            }
        }
        if self.view.read().mem.cost() > OVERDUE * self.options.checkpoint_bytes {
            self.checkpoint(&mut writer)?;
        }
        // From here on nothing else may come between, or what is known is no longer so.
        let known = self.twice_on_view(&mut writer, "reading the index", |view| {
            view.check(batch, Some(&self.files))
        })??;
        let appended = writer.journal.append(&content);
        appended.map_err(|error| commit_error("writing the journal", error))?;
        self.view.write().apply(batch, &known);
        self.checkpoint_if_due(&mut writer);
        Ok(())
    }

    pub(crate) fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
        let mut writer = self.writer.lock();
        let first = writer.next_id.max(lowest);
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
            !view.mem.removed.is_empty()
                || !view.mem.trimmed.is_empty()
                || view.mem.cost() > self.options.checkpoint_bytes / 2
        };
        if due {
            self.checkpoint(&mut writer)?;
            return Ok(writer.garbage && writer.copies == 0);
        }
        if !writer.garbage || writer.copies > 0 {
            return Ok(false);
        }
        let credit = writer.credit;
        let (credit, more) = self.on_index(&mut writer, "giving space back", |db| {
            base::reclaim(db, &self.files, credit)
        })?;
        writer.credit = credit;
        writer.garbage = more;
        Ok(more)
    }

    /// Brings the table in memory to the index, and begins the journal anew.
    pub(super) fn checkpoint(&self, writer: &mut Writer) -> Result<(), CommitError> {
        if self.view.read().mem.is_empty() && writer.journal.len() == 0 {
            return Ok(());
        }
        let (runs, holes) = self.write_files(writer)?;
        let totals = self.totals(writer);
        let garbage = {
            let view = self.view.read();
            !view.mem.removed.is_empty() || !view.mem.trimmed.is_empty()
        };
        // Nobody else changes the view while the writer is locked; readers go on.
        let done = self.on_index(writer, "writing the index", |db| {
            let view = self.view.read();
            base::checkpoint(
                db,
                &Checkpoint {
                    mem: &view.mem,
                    runs: &runs,
                    holes: &holes,
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
        writer.applied = totals.applied;
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
    ///
    /// A file that has become shorter than what counts of it gets its new bytes all the same,
    /// where they belong; what is missing before them is returned.
    fn write_files(&self, writer: &mut Writer) -> Result<(BTreeMap<StreamId, Run>, Holes), CommitError> {
        let runs = self.twice_on_view(writer, "reading the index", |view| self.plan_files(view))?;
        let view = self.view.read();
        let (mut written, mut new, mut holes) = (Vec::new(), Vec::new(), Vec::new());
        for (id, run) in &runs {
            let Some(grown) = view.mem.streams.get(id) else {
                continue;
            };
            let offset = grown.segments.start() - run.start;
            let short = self.files.is_short(*id, offset);
            if let Some(found) = short.map_err(|error| commit_error("looking at a data file", error))? {
                let hole = run.start + found..run.start + offset;
                tracing::error!(
                    stream_id = id,
                    from = hole.start,
                    to = hole.end,
                    "a data file is shorter than what was acknowledged: the stream is damaged and takes no more"
                );
                holes.push((*id, hole));
            }
            let done = self.files.write(*id, offset, &grown.segments);
            done.map_err(|error| commit_error("writing a data file", error))?;
            written.push(*id);
            if offset == 0 {
                new.push(*id);
            }
        }
        let synced = self.files.sync(&written, &new);
        synced.map_err(|error| commit_error("syncing data files", error))?;
        Ok((runs, holes))
    }

    /// Which streams' new bytes go to files, and what will count of the files then.
    fn plan_files(&self, view: &View) -> Result<BTreeMap<StreamId, Run>, redb::Error> {
        let mut runs = BTreeMap::new();
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
        let probed = writer.journal.probe();
        probed.map_err(|error| commit_error("writing", error))?;
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
