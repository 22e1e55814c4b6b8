//! Checkpoints: the table in memory is written to the index and the data files.

use std::{collections::BTreeMap, ops::Range};

use super::{
    JournaledStore, Writer,
    view::View,
    write::{commit_error, index_error},
};
use crate::storage::{
    CommitError, Position, StreamId,
    index::{self, Checkpoint, Extent, Snapshot, schema::needs_reopen},
    memtable::{Memtable, PendingStream},
};

/// Ranges that streams have lost.
type Holes = Vec<(StreamId, Range<Position>)>;

impl JournaledStore {
    /// Writes the table in memory to the index and starts the journal over.
    pub(super) fn checkpoint(&self, writer: &mut Writer) -> Result<(), CommitError> {
        if self.view.read().mem.is_empty() && writer.journal.len() == 0 {
            return Ok(());
        }
        let (extents, holes) = self.write_files(writer)?;
        let totals = self.totals(writer);
        let garbage = self.view.read().mem.frees_space();
        // The view does not change while the writer is locked, and readers are not blocked.
        let done = self.write_index(writer, "writing the index", |db| {
            let view = self.view.read();
            index::checkpoint(
                db,
                &Checkpoint {
                    mem: &view.mem,
                    extents: &extents,
                    holes: &holes,
                    totals,
                },
            )
        });
        if let Err(error) = done {
            // After reopening, an empty table means that the transaction did commit.
            return match self.view.read().mem.is_empty() {
                true => Ok(()),
                false => Err(error),
            };
        }
        self.view.write().mem = Memtable::default();
        writer.journal.restart();
        writer.applied = totals.applied;
        writer.garbage |= garbage;
        writer.retry_at = 0;
        Ok(())
    }

    pub(super) fn checkpoint_if_due(&self, writer: &mut Writer) {
        let cost = self.view.read().mem.cost().max(writer.journal.len());
        if cost < self.options.checkpoint_bytes.max(writer.retry_at) {
            return;
        }
        if let Err(error) = self.checkpoint(writer) {
            tracing::error!(%error, "checkpoint failed, will retry; committed data is safe in the journal");
            writer.retry_at = cost + self.options.checkpoint_bytes / 4;
        }
    }

    /// Writes the new bytes of streams with data files and makes them durable. Bytes past the end
    /// that the index knows are ignored, so a failure has no effect.
    ///
    /// A file that has become shorter than the index expects gets its new bytes where they belong.
    /// The missing range before them is returned as a hole.
    fn write_files(&self, writer: &mut Writer) -> Result<(BTreeMap<StreamId, Extent>, Holes), CommitError> {
        let extents = self.with_locked_view(writer, |view| Ok(self.plan_files(view)?))?;
        let view = self.view.read();
        let (mut written, mut new, mut holes) = (Vec::new(), Vec::new(), Vec::new());
        for (id, extent) in &extents {
            let Some(pending) = view.mem.streams.get(id) else {
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
    fn plan_files(&self, view: &View) -> Result<BTreeMap<StreamId, Extent>, redb::Error> {
        let mut extents = BTreeMap::new();
        for (id, pending) in &view.mem.streams {
            let (start, tail) = (pending.segments.start(), pending.segments.tail());
            if start == tail {
                continue;
            }
            let begin = match view.index.extent(*id)? {
                Some(extent) => Some(extent.start),
                None if self.outgrows_rows(view, *id, pending)? => Some(start),
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
    fn outgrows_rows(&self, view: &View, id: StreamId, pending: &PendingStream) -> Result<bool, redb::Error> {
        let Some(min) = self.options.min_data_file else {
            return Ok(false);
        };
        let first = match pending.indexed {
            true => view.index.first_row(id)?,
            false => None,
        };
        let total = pending.segments.tail() - first.unwrap_or(pending.segments.start());
        Ok(total >= min)
    }

    /// Runs a transaction on the index and publishes its result.
    pub(super) fn write_index<T>(
        &self,
        writer: &mut Writer,
        context: &str,
        write: impl Fn(&redb::Database) -> Result<T, redb::Error>,
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
        match write(db).and_then(|done| Ok((done, Snapshot::take(db)?))) {
            Ok((done, index)) => {
                self.view.write().index = std::sync::Arc::new(index);
                Ok(done)
            }
            Err(error) => {
                if needs_reopen(&error)
                    && let Err(error) = self.reopen(writer, generation)
                {
                    tracing::error!(%error, "the index could not be reopened after an I/O error");
                }
                Err(index_error(context, error))
            }
        }
    }
}
