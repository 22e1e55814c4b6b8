//! Reading: from the table in memory, the index and the data files.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    ops::{Bound, Range},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};

use super::JournaledStore;
use crate::{
    protocol::{Millis, StreamName},
    storage::{Position, StorageError, Stored, StreamId, StreamRecord, WriterState, index::Snapshot},
};

/// Names in order with their records; `None`: removed.
type Rows<'r> = Box<dyn Iterator<Item = Result<(StreamName, Option<StreamRecord>), redb::Error>> + 'r>;

impl JournaledStore {
    pub(crate) fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        self.with_view("reading a record", |view| {
            let record = view.record(name)?;
            record.map(|record| view.stored(record)).transpose()
        })
    }

    pub(crate) fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
        self.with_view("reading writers", |view| view.writers(id))
    }

    pub(crate) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(StreamName, Stored)>, StorageError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.with_view("listing streams", |view| {
            let indexed = view.index.records(from)?;
            let mut rows: Rows<'_> = Box::new(indexed.map(|row| row.map(|(name, record)| (name, Some(record)))));
            for mem in view.tables().rev() {
                let changed = mem.records(from);
                let changed = changed.map(|(name, record)| (name.clone(), record.cloned()));
                rows = Box::new(overlay(changed, rows));
            }
            let mut found = Vec::new();
            while found.len() < limit {
                let Some(row) = rows.next() else { break };
                let (name, record) = row?;
                if !name.key().starts_with(prefix) {
                    break;
                }
                if let Some(record) = record {
                    found.push((name, view.stored(record)?));
                }
            }
            Ok(found)
        })
    }

    pub(crate) fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
        self.with_view("looking for due streams", |view| {
            let mut found: BTreeSet<(Millis, StreamName)> = BTreeSet::new();
            for row in view.index.due(now)? {
                if found.len() >= limit {
                    break;
                }
                let (at, name) = row?;
                if !view.tables().any(|mem| mem.has_changed(&name)) {
                    found.insert((at, name));
                }
            }
            let frozen = view.frozen_table().into_iter().flat_map(|mem| mem.due_until(now));
            let frozen = frozen.filter(|(_, name)| !view.mem.has_changed(name)).take(limit);
            found.extend(frozen.cloned());
            found.extend(view.mem.due_until(now).take(limit).cloned());
            Ok(found.into_iter().take(limit).map(|(_, name)| name).collect())
        })
    }

    pub(crate) fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        let read = || {
            let view = self.view.read();
            if view.tables().any(|mem| mem.removed.contains(&id)) {
                return (Ok(Bytes::new()), view.generation);
            }
            let (mut split, mut recent) = (Position::MAX, Bytes::new());
            for pending in view.tables().filter_map(|mem| mem.streams.get(&id)) {
                let newer = std::mem::replace(&mut recent, pending.segments.read(range.clone()));
                split = pending.segments.start();
                if recent.is_empty() {
                    recent = newer;
                } else if !newer.is_empty() {
                    recent = [recent, newer].concat().into();
                }
            }
            let (index, generation) = (Arc::clone(&view.index), view.generation);
            // Do not hold the lock while reading from the disk.
            drop(view);
            if range.start >= split {
                return (Ok(recent), generation);
            }
            let done = self.read_indexed(&index, id, range.start..range.end.min(split), recent);
            (done, generation)
        };
        self.retry_after_reopen("reading a stream", read)
    }

    /// Reads a range from the index and the data file, followed by `recent`.
    pub(super) fn read_indexed(
        &self,
        index: &Snapshot,
        id: StreamId,
        range: Range<Position>,
        recent: Bytes,
    ) -> Result<Bytes, redb::Error> {
        let extent = index.extent(id)?;
        let tail = match extent {
            Some(extent) => extent.end(),
            None => index.tail(id)?.unwrap_or(0),
        };
        let end = range.end.min(tail);
        let len = usize::try_from(end.saturating_sub(range.start)).unwrap_or(0);
        if len == 0 {
            return Ok(recent);
        }
        if let Some(hole) = index.hole(id)?
            && hole.start < end
            && range.start < hole.end
        {
            let what = format!("stream {id} has lost the bytes from {} to {}", hole.start, hole.end);
            return Err(redb::Error::Corrupted(what));
        }
        let mut out = BytesMut::with_capacity(len + recent.len());
        let rows_end = extent.map_or(end, |extent| end.min(extent.start));
        index.read_rows(id, &(range.start..rows_end), &mut out)?;
        if let Some(extent) = extent
            && end > extent.start
        {
            let from = range.start.max(extent.start);
            let filled = out.len();
            out.resize(filled + usize::try_from(end - from).unwrap_or(0), 0);
            let rest = out.get_mut(filled..).unwrap_or_default();
            self.read_data_file(id, from - extent.start, rest)?;
        }
        out.extend_from_slice(&recent);
        Ok(out.freeze())
    }

    fn read_data_file(&self, id: StreamId, offset: u64, out: &mut [u8]) -> Result<(), redb::Error> {
        self.files.read(id, offset, out).map_err(|error| match error.kind() {
            // Reopening the index would not help.
            ErrorKind::UnexpectedEof | ErrorKind::NotFound => redb::Error::Corrupted(format!(
                "the data file of stream {id} is missing, or shorter than what was acknowledged"
            )),
            _ => error.into(),
        })
    }
}

/// Both in the order of their names. A changed row hides an older one of the same name.
fn overlay<'r>(
    changed: impl Iterator<Item = (StreamName, Option<StreamRecord>)> + 'r,
    older: Rows<'r>,
) -> impl Iterator<Item = Result<(StreamName, Option<StreamRecord>), redb::Error>> + 'r {
    let (mut changed, mut older) = (changed.peekable(), older.peekable());
    std::iter::from_fn(move || match (changed.peek(), older.peek()) {
        (Some(_), None) => changed.next().map(Ok),
        (None, _) | (_, Some(Err(_))) => older.next(),
        (Some((one, _)), Some(Ok((other, _)))) if one > other => older.next(),
        (Some((one, _)), Some(Ok((other, _)))) => {
            if one == other {
                older.next();
            }
            changed.next().map(Ok)
        }
    })
}
