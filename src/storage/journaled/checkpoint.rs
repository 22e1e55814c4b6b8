//! Checkpoints: a table in memory is frozen and written to the index and the data files, beside
//! commits.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use super::{
    Indexer, JournaledStore,
    view::Frozen,
    write::{commit_error, index_error},
};
use crate::storage::{
    CommitError, Position, StreamId,
    index::{self, Checkpoint, Extent, Snapshot, Totals, schema::needs_reopen},
    memtable::{Memtable, PendingStream},
};

/// Ranges that streams have lost.
type Holes = Vec<(StreamId, Range<Position>)>;

impl JournaledStore {
    /// Writes everything that was committed so far to the index.
    pub(super) fn checkpoint(&self, indexer: &mut Indexer) -> Result<(), CommitError> {
        self.write_frozen(indexer)?;
        self.freeze(indexer);
        self.write_frozen(indexer)
    }

    /// Freezes the table for a checkpoint, unless there is nothing new: further changes go to a new
    /// one. Returns whether there is a frozen table.
    pub(super) fn freeze(&self, indexer: &Indexer) -> bool {
        let mut writer = self.writer.lock();
        let mut view = self.view.write();
        let applied = writer.journal.last_seq();
        if view.frozen.is_some() || applied == indexer.totals.applied {
            return view.frozen.is_some();
        }
        let mem = std::mem::take(&mut view.mem);
        let totals = Totals {
            applied,
            next_id: writer.next_id,
            streams: view.usage.streams,
            bytes: view.usage.bytes,
            credit: writer.credit,
            garbage: indexer.totals.garbage || mem.frees_space(),
        };
        view.frozen = Some(Arc::new(Frozen { mem, totals }));
        writer.journal.begin_table(indexer.totals.applied);
        writer.retry_at = 0;
        true
    }

    /// Writes the frozen table to the index, if there is one.
    pub(super) fn write_frozen(&self, indexer: &mut Indexer) -> Result<(), CommitError> {
        self.ensure_open(indexer)?;
        let Some(frozen) = self.view.read().frozen.clone() else {
            return Ok(());
        };
        let (extents, holes) = self.write_files(indexer, &frozen.mem)?;
        if self.view.read().frozen.is_none() {
            // The index was reopened, and has the table: an earlier transaction did commit.
            return Ok(());
        }
        let done = self.write_index(indexer, "writing the index", |db| {
            index::checkpoint(
                db,
                &Checkpoint {
                    mem: &frozen.mem,
                    extents: &extents,
                    holes: &holes,
                    totals: frozen.totals,
                },
            )
        });
        match done {
            Ok(((), index)) => {
                let mut view = self.view.write();
                view.index = Arc::new(index);
                view.frozen = None;
                indexer.totals = frozen.totals;
                Ok(())
            }
            // The index was reopened, and the transaction did commit.
            Err(_) if self.view.read().frozen.is_none() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes the new bytes of streams with data files and makes them durable. Bytes past the end
    /// that the index knows are ignored, so a failure has no effect.
    ///
    /// A file that has become shorter than the index expects gets its new bytes where they belong.
    /// The missing range before them is returned as a hole.
    fn write_files(
        &self,
        indexer: &mut Indexer,
        mem: &Memtable,
    ) -> Result<(BTreeMap<StreamId, Extent>, Holes), CommitError> {
        let extents = self.with_index(indexer, |index| self.plan_files(mem, index))?;
        let (mut written, mut new, mut holes) = (Vec::new(), Vec::new(), Vec::new());
        for (id, extent) in &extents {
            let Some(pending) = mem.streams.get(id) else {
                continue;
            };
            let offset = pending.segments.start() - extent.start;
            let short = self.files.shorter_than(*id, offset);
            if let Some(found) = short.map_err(|error| commit_error("checking a data file", error))? {
                let hole = extent.start + found..extent.start + offset;
                tracing::error!(
                    stream_id = id,
                    from = hole.start,
                    to = hole.end,
                    "a data file is shorter than what was acknowledged: the stream is damaged and refuses appends"
                );
                holes.push((*id, hole));
            }
            let done = self.files.write(*id, offset, &pending.segments);
            done.map_err(|error| commit_error("writing a data file", error))?;
            written.push(*id);
            if offset == 0 {
                new.push(*id);
            }
        }
        let synced = self.files.sync(&written, &new);
        synced.map_err(|error| commit_error("syncing data files", error))?;
        Ok((extents, holes))
    }

    /// The streams whose new bytes go to data files, and the extents they will have.
    fn plan_files(&self, mem: &Memtable, index: &Snapshot) -> Result<BTreeMap<StreamId, Extent>, redb::Error> {
        let mut extents = BTreeMap::new();
        for (id, pending) in &mem.streams {
            let (start, tail) = (pending.segments.start(), pending.segments.tail());
            if start == tail {
                continue;
            }
            let begin = match index.extent(*id)? {
                Some(extent) => Some(extent.start),
                None if self.outgrows_rows(index, *id, pending)? => Some(start),
                None => None,
            };
            if let Some(start) = begin {
                let len = tail - start;
                extents.insert(*id, Extent { start, len });
            }
        }
        Ok(extents)
    }

    /// Whether a stream without a data file is large enough for one.
    fn outgrows_rows(&self, index: &Snapshot, id: StreamId, pending: &PendingStream) -> Result<bool, redb::Error> {
        let Some(min) = self.options.min_data_file else {
            return Ok(false);
        };
        let first = match pending.indexed {
            true => index.first_row(id)?,
            false => None,
        };
        let total = pending.segments.tail() - first.unwrap_or(pending.segments.start());
        Ok(total >= min)
    }

    /// Reads the index, which does not change while `indexer` is locked.
    fn with_index<T>(
        &self,
        indexer: &mut Indexer,
        read: impl Fn(&Snapshot) -> Result<T, redb::Error>,
    ) -> Result<T, CommitError> {
        let current = || {
            let view = self.view.read();
            (Arc::clone(&view.index), view.generation)
        };
        let (index, generation) = current();
        let done = match read(&index) {
            Err(error) if needs_reopen(&error) => {
                self.reopen(indexer, generation)?;
                read(&current().0)
            }
            done => done,
        };
        done.map_err(|error| index_error("reading the index", error))
    }

    /// Opens the index if an I/O error has closed it. A table may turn out to be in it already.
    fn ensure_open(&self, indexer: &mut Indexer) -> Result<(), CommitError> {
        if indexer.db.is_none() {
            let generation = self.view.read().generation;
            self.reopen(indexer, generation)?;
        }
        Ok(())
    }

    /// Runs a transaction on the index. Returns its result and the new state of the index.
    pub(super) fn write_index<T>(
        &self,
        indexer: &mut Indexer,
        context: &str,
        write: impl Fn(&redb::Database) -> Result<T, redb::Error>,
    ) -> Result<(T, Snapshot), CommitError> {
        let probed = self.writer.lock().journal.probe();
        probed.map_err(|error| commit_error("writing", error))?;
        self.ensure_open(indexer)?;
        let generation = self.view.read().generation;
        let Some(db) = &indexer.db else {
            return Err(index_error(context, redb::Error::DatabaseClosed));
        };
        write(db)
            .and_then(|done| Ok((done, Snapshot::take(db)?)))
            .map_err(|error| {
                if needs_reopen(&error)
                    && let Err(error) = self.reopen(indexer, generation)
                {
                    tracing::error!(%error, "the index could not be reopened after an I/O error");
                }
                index_error(context, error)
            })
    }
}
