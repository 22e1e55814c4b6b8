//! Reading: the table in memory over the index over the data files.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    ops::{Bound, Range},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};

use super::{JournaledStore, view::View};
use crate::{
    protocol::{Millis, StreamName},
    storage::{
        Position, StorageError, Stored, StreamId, WriterState,
        index::{
            Snapshot,
            schema::{needs_reopen, storage_error},
        },
    },
};

impl JournaledStore {
    pub(crate) fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        self.look("reading a record", |view| {
            let record = view.record(name)?;
            record.map(|record| view.stored(record)).transpose()
        })
    }

    pub(crate) fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
        self.look("reading writers", |view| view.writers(id))
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
        self.look("listing streams", |view| {
            let mut indexed = view.index.records(from)?.peekable();
            let mut changed = view.mem.records(from).peekable();
            let mut found = Vec::new();
            while found.len() < limit {
                // The lower of the two names; of equal ones the changed, which hides the other.
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
        self.look("looking for due streams", |view| {
            let mut found: BTreeMap<(Millis, StreamName), ()> = BTreeMap::new();
            for row in view.index.due(now)? {
                if found.len() >= limit {
                    break;
                }
                let (at, name) = row?;
                if !view.mem.names.contains_key(&name) {
                    found.insert((at, name), ());
                }
            }
            let changed = view.mem.due.iter().take_while(|(at, _)| *at <= now).take(limit);
            found.extend(changed.map(|key| (key.clone(), ())));
            Ok(found.into_keys().take(limit).map(|(_, name)| name).collect())
        })
    }

    pub(crate) fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        let attempt = || {
            let view = self.view.read();
            let (split, behind) = match view.mem.streams.get(&id) {
                Some(grown) => (grown.segments.start(), grown.segments.read(range.clone())),
                None if view.mem.removed.contains(&id) => return (Ok(Bytes::new()), view.generation),
                None => (Position::MAX, Bytes::new()),
            };
            let (index, generation) = (Arc::clone(&view.index), view.generation);
            // The disk is read without holding anyone up.
            drop(view);
            if range.start >= split {
                return (Ok(behind), generation);
            }
            let read = self.read_indexed(&index, id, range.start..range.end.min(split), behind);
            (read, generation)
        };
        self.twice("reading a stream", attempt)
    }

    pub(super) fn read_indexed(
        &self,
        index: &Snapshot,
        id: StreamId,
        range: Range<Position>,
        behind: Bytes,
    ) -> Result<Bytes, redb::Error> {
        let run = index.run(id)?;
        let tail = match run {
            Some(run) => run.start + run.len,
            None => index.tail(id)?.unwrap_or(0),
        };
        let end = range.end.min(tail);
        let len = usize::try_from(end.saturating_sub(range.start)).unwrap_or(0);
        if len == 0 {
            return Ok(behind);
        }
        if let Some(hole) = index.hole(id)?
            && hole.start < end
            && range.start < hole.end
        {
            let what = format!("stream {id} has lost the bytes from {} to {}", hole.start, hole.end);
            return Err(redb::Error::Corrupted(what));
        }
        let mut out = BytesMut::with_capacity(len + behind.len());
        let rows_end = run.map_or(end, |run| end.min(run.start));
        index.read_rows(id, &(range.start..rows_end), &mut out)?;
        if let Some(run) = run
            && end > run.start
        {
            let from = range.start.max(run.start);
            let before = out.len();
            out.resize(before + usize::try_from(end - from).unwrap_or(0), 0);
            let read = self
                .files
                .read(id, from - run.start, out.get_mut(before..).unwrap_or_default());
            read.map_err(|error| match error.kind() {
                // The index is not what is wrong.
                ErrorKind::UnexpectedEof | ErrorKind::NotFound => {
                    let what =
                        format!("the data file of stream {id} is missing, or shorter than what was acknowledged");
                    redb::Error::Corrupted(what)
                }
                _ => error.into(),
            })?;
        }
        out.extend_from_slice(&behind);
        Ok(out.freeze())
    }

    /// Runs `work` on what the store is at this moment.
    fn look<T>(&self, context: &str, work: impl Fn(&View) -> Result<T, redb::Error>) -> Result<T, StorageError> {
        self.twice(context, || {
            let view = self.view.read();
            (work(&view), view.generation)
        })
    }

    /// Runs `work`, and once more when the index had to be opened anew for it.
    fn twice<T>(&self, context: &str, work: impl Fn() -> (Result<T, redb::Error>, u64)) -> Result<T, StorageError> {
        let (error, generation) = match work() {
            (Ok(done), _) => return Ok(done),
            (Err(error), generation) => (error, generation),
        };
        if needs_reopen(&error) && self.reopen(&mut self.writer.lock(), generation).is_ok() {
            return work().0.map_err(|error| storage_error(context, error));
        }
        Err(storage_error(context, error))
    }

    /// Opens the index anew, unless someone else has since `generation`. Returns the last
    /// journal record that is in it.
    pub(super) fn reopen(&self, writer: &mut super::Writer, generation: u64) -> Result<(), StorageError> {
        if self.view.read().generation != generation && writer.db.is_some() {
            return Ok(());
        }
        writer.db = None;
        let (db, totals) = self.index.open()?;
        let index = Snapshot::take(&db).map_err(|error| storage_error("reading the index", error))?;
        tracing::warn!("the index was opened anew after an I/O error");
        let mut view = self.view.write();
        view.generation += 1;
        if totals.applied == writer.applied {
            view.index = Arc::new(index);
        } else {
            // A checkpoint that seemed to fail is there after all, and others may have
            // committed since.
            let behind = writer.journal.read_behind(totals.applied)?;
            let mut anew = View::new(index, &totals, view.generation);
            anew.replay(&behind)?;
            *view = anew;
            if behind.is_empty() {
                writer.journal.restart();
            }
        }
        writer.applied = totals.applied;
        writer.garbage = totals.garbage;
        writer.db = Some(db);
        Ok(())
    }
}
