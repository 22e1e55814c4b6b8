//! Reading: from the table in memory, the index and the data files.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    ops::{Bound, Range},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};

use super::JournaledStore;
use crate::{
    protocol::{Millis, StreamName},
    storage::{Position, StorageError, Stored, StreamId, WriterState, index::Snapshot},
};

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
            let mut indexed = view.index.records(from)?.peekable();
            let mut changed = view.mem.records(from).peekable();
            let mut found = Vec::new();
            while found.len() < limit {
                // The lower of the two names. A changed record hides the indexed one of the same name.
                let indexed_first = match (indexed.peek(), changed.peek()) {
                    (None, None) => break,
                    (Some(Err(_)), _) | (Some(_), None) => true,
                    (None, Some(_)) => false,
                    (Some(Ok((one, _))), Some((other, _))) if one == *other => {
                        indexed.next();
                        false
                    }
                    (Some(Ok((one, _))), Some((other, _))) => one < *other,
                };
                let (name, record) = if indexed_first {
                    let Some(row) = indexed.next() else { break };
                    let (name, record) = row?;
                    (name, Some(record))
                } else {
                    let Some((name, record)) = changed.next() else { break };
                    (name.clone(), record.cloned())
                };
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
            let mut found: BTreeMap<(Millis, StreamName), ()> = BTreeMap::new();
            for row in view.index.due(now)? {
                if found.len() >= limit {
                    break;
                }
                let (at, name) = row?;
                if !view.mem.has_changed(&name) {
                    found.insert((at, name), ());
                }
            }
            let changed = view.mem.due.iter().take_while(|(at, _)| *at <= now).take(limit);
            found.extend(changed.map(|key| (key.clone(), ())));
            Ok(found.into_keys().take(limit).map(|(_, name)| name).collect())
        })
    }

    pub(crate) fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        let read = || {
            let view = self.view.read();
            let (split, recent) = match view.mem.streams.get(&id) {
                Some(pending) => (pending.segments.start(), pending.segments.read(range.clone())),
                None if view.mem.removed.contains(&id) => return (Ok(Bytes::new()), view.generation),
                None => (Position::MAX, Bytes::new()),
            };
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
