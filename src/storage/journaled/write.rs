//! Writing: batches into the journal, and space reclaimed from the index.

use std::io;

use super::{JournaledStore, Writer};
use crate::storage::{
    Change, CommitError, StorageError, StreamId,
    error::is_full,
    index::{self, schema::storage_error},
    journal::entry::Encoded,
};

/// Disk space that is left free, so that streams can be deleted and trimmed on a full disk.
const RESERVE: u64 = 1024 * 1024;

/// The possible cost of a change on disk besides its bytes: pages of the index.
const CHANGE_COST: u64 = 8 * 1024;

/// The multiple of its usual size that the table may reach while checkpoints fail.
const MAX_OVERDUE_FACTOR: u64 = 8;

impl JournaledStore {
    pub(crate) fn commit(&self, batch: &[Change]) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut writer = self.writer.lock();
        let content = Encoded::batch(batch).map_err(encode_error)?;
        self.ensure_space_for(&mut writer, batch, content.len())?;
        if self.view.read().mem.cost() > MAX_OVERDUE_FACTOR * self.options.checkpoint_bytes {
            self.checkpoint(&mut writer)?;
        }
        // The writer is locked, so what is looked up here still holds when it is applied.
        let known = self.with_locked_view(&mut writer, |view| view.check(batch, Some(&self.files)))?;
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
        let content = Encoded::next_id(next).map_err(encode_error)?;
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
            view.mem.frees_space() || view.mem.cost() > self.options.checkpoint_bytes / 2
        };
        if due {
            self.checkpoint(&mut writer)?;
            return Ok(writer.garbage && writer.copies == 0);
        }
        if !writer.garbage || writer.copies > 0 {
            return Ok(false);
        }
        let credit = writer.credit;
        let (credit, more) = self.write_index(&mut writer, "reclaiming space", |db| {
            index::reclaim(db, &self.files, credit)
        })?;
        writer.credit = credit;
        writer.garbage = more;
        Ok(more)
    }

    /// Refuses a batch that needs more space than there is. One that frees space is accepted.
    fn ensure_space_for(&self, writer: &mut Writer, batch: &[Change], len: u64) -> Result<(), CommitError> {
        if batch.iter().all(|change| matches!(change, Change::Remove { .. })) {
            return Ok(());
        }
        let cost = 2 * len + CHANGE_COST * batch.len() as u64;
        let checked = self.ensure_space(writer, cost, len);
        if matches!(checked, Err(CommitError::Full(_)))
            && self.with_locked_view(writer, |view| Ok(view.frees_space(batch)?))?
        {
            return Ok(());
        }
        checked
    }

    /// Checks that the disk has space for a record of `len` bytes now and for `cost` bytes at the
    /// next checkpoint.
    fn ensure_space(&self, writer: &mut Writer, cost: u64, len: u64) -> Result<(), CommitError> {
        let needed = |writer: &Writer| {
            let pending = 2 * self.view.read().mem.cost();
            RESERVE + writer.journal.growth(len) + cost + pending
        };
        let Some(mut free) = self.disk.free() else {
            return Ok(());
        };
        if free < needed(writer) && self.view.read().mem.cost() > 0 {
            // Replaces the estimate of what the table needs by what it takes.
            self.checkpoint(writer)?;
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
