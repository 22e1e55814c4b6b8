//! Writing: batches into the journal, and space reclaimed from the index.

use std::io;

use parking_lot::MutexGuard;

use super::{Indexer, JournaledStore, Writer};
use crate::storage::{
    Change, CommitError, Refused, StorageError, StreamId,
    error::is_full,
    index::{self, schema::storage_error},
    journal::entry::Encoded,
};

/// Disk space that is left free, so that streams can be deleted and trimmed on a full disk.
const RESERVE: u64 = 1024 * 1024;

/// The possible cost of a change on disk besides its bytes: pages of the index.
const CHANGE_COST: u64 = 8 * 1024;

/// The multiple of its usual size at which a table is written by the next batch, because nobody
/// else has done so.
const OVERDUE_FACTOR: u64 = 2;

/// The multiple of the usual size of one that the tables may reach together while checkpoints fail.
const MAX_OVERDUE_FACTOR: u64 = 8;

impl JournaledStore {
    pub(crate) fn commit(&self, batch: &[Change]) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        let content = Encoded::batch(batch).map_err(encode_error)?;
        let mut writer = self.writer.lock();
        self.limit_table(&mut writer)?;
        self.ensure_space_for(&mut writer, batch, content.len())?;
        // The writer is locked, so what is looked up here still holds when it is applied.
        let known = self.with_locked_view(&mut writer, |view| view.check(batch, Some(&self.files)))?;
        let appended = writer.journal.append(&content);
        appended.map_err(|error| commit_error("writing the journal", error))?;
        self.view.write().apply(batch, &known);
        Ok(())
    }

    pub(crate) fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
        let mut writer = self.writer.lock();
        self.limit_table(&mut writer)?;
        let first = writer.next_id.max(lowest);
        let next = first.saturating_add(count);
        let content = Encoded::next_id(next).map_err(encode_error)?;
        let appended = writer.journal.append(&content);
        appended.map_err(|error| commit_error("writing the journal", error))?;
        writer.next_id = next;
        Ok(first)
    }

    /// The size of the table in memory, or of its records in the journal.
    fn table_size(&self, writer: &Writer) -> u64 {
        self.view.read().mem.cost().max(writer.journal.len())
    }

    pub(crate) fn needs_maintenance(&self) -> bool {
        let writer = self.writer.lock();
        let has_frozen = self.view.read().frozen.is_some();
        !has_frozen && self.table_size(&writer) >= self.options.checkpoint_bytes
    }

    /// Freezes the table if it is large enough, writes the frozen one, or reclaims space.
    pub(crate) fn maintain(&self) -> Result<bool, CommitError> {
        let mut indexer = self.indexer.lock();
        if self.view.read().frozen.is_some() {
            self.write_frozen(&mut indexer)?;
            return Ok(self.needs_maintenance() || indexer.has_garbage());
        }
        let due = {
            let size = self.table_size(&self.writer.lock());
            // Garbage is reclaimed before more is added.
            let frees_space = self.view.read().mem.frees_space() && !indexer.has_garbage();
            frees_space || size > self.options.checkpoint_bytes / 2
        };
        if due && self.freeze(&indexer) {
            return Ok(true);
        }
        if !indexer.has_garbage() {
            return Ok(false);
        }
        let before = self.writer.lock().credit;
        let ((after, more), index) = self.write_index(&mut indexer, "reclaiming space", |db| {
            index::reclaim(db, &self.files, before)
        })?;
        self.view.write().index = index.into();
        self.writer.lock().credit += after - before;
        indexer.totals.garbage = more;
        Ok(more || self.view.read().mem.frees_space())
    }

    /// Writes a table to the index that has become too large. Batches wait for that only if
    /// maintenance is slower than they are, or fails.
    fn limit_table(&self, writer: &mut MutexGuard<'_, Writer>) -> Result<(), CommitError> {
        let limit = self.options.checkpoint_bytes;
        let size = self.table_size(writer);
        if size < (OVERDUE_FACTOR * limit).max(writer.retry_at) {
            return Ok(());
        }
        let Err(error) = self.checkpoint_unlocked(writer) else {
            return Ok(());
        };
        if self.view.read().pending_cost() > MAX_OVERDUE_FACTOR * limit {
            return Err(error);
        }
        tracing::error!(%error, "checkpoint failed, will retry; committed data is safe in the journal");
        writer.retry_at = size + limit / 4;
        Ok(())
    }

    /// Writes everything to the index while the writer is unlocked.
    fn checkpoint_unlocked(&self, writer: &mut MutexGuard<'_, Writer>) -> Result<(), CommitError> {
        MutexGuard::unlocked(writer, || self.checkpoint(&mut self.indexer.lock()))
    }

    /// Refuses a batch that needs more space than there is. One that frees space is accepted.
    fn ensure_space_for(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        batch: &[Change],
        len: u64,
    ) -> Result<(), CommitError> {
        if batch.iter().all(|change| matches!(change, Change::Remove { .. })) {
            return Ok(());
        }
        let cost = 2 * len + CHANGE_COST * batch.len() as u64;
        let checked = self.ensure_space(writer, cost, len);
        if matches!(checked, Err(CommitError::Full(_)))
            && self.with_locked_view::<_, CommitError>(writer, |view| Ok(view.frees_space(batch)?))?
        {
            return Ok(());
        }
        checked
    }

    /// Checks that the disk has space for a record of `len` bytes now and for `cost` bytes at the
    /// next checkpoint.
    fn ensure_space(&self, writer: &mut MutexGuard<'_, Writer>, cost: u64, len: u64) -> Result<(), CommitError> {
        let needed = |writer: &Writer| {
            let pending = 2 * self.view.read().pending_cost();
            RESERVE + writer.journal.growth(len) + cost + pending
        };
        let Some(mut free) = self.disk.free() else {
            return Ok(());
        };
        if free < needed(writer) && self.view.read().pending_cost() > 0 {
            // Replaces the estimate of what the tables need by what they take.
            self.checkpoint_unlocked(writer)?;
            free = self.disk.free().unwrap_or(u64::MAX);
        }
        if free >= needed(writer) {
            writer.credit = 0;
            return Ok(());
        }
        if writer.credit < cost {
            return Err(CommitError::Full(format!("the disk has {free} bytes left")));
        }
        writer.credit -= cost;
        Ok(())
    }
}

impl Indexer {
    /// Whether the index has anything that may be reclaimed now.
    fn has_garbage(&self) -> bool {
        self.totals.garbage && self.copies == 0
    }
}

fn encode_error(error: postcard::Error) -> CommitError {
    CommitError::Storage(StorageError::Encode(error.into()))
}

pub(super) fn commit_error(context: &str, source: io::Error) -> CommitError {
    if is_full(&source) {
        return CommitError::Full(format!("{context}: {source}"));
    }
    CommitError::Storage(StorageError::Io {
        context: context.to_owned(),
        source,
    })
}

pub(super) fn index_error(context: &str, error: redb::Error) -> CommitError {
    match error {
        redb::Error::Io(source) if is_full(&source) => commit_error(context, source),
        error => CommitError::Storage(storage_error(context, error)),
    }
}
