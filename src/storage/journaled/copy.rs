//! Copying a store stream by stream, while it is in use or to salvage what can be read.

use std::ops::Bound;

use bytes::Bytes;

use super::{
    JournaledStore,
    pinned::{PinnedStore, write_error},
    salvage::complete_prefix,
};
use crate::{
    protocol::StreamName,
    storage::{
        Change, CopyProgress, Life, Position, Refused, StorageError, StoreReport, StreamId, StreamRecord,
        index::{catch_redb_panic, schema::storage_error},
    },
};

/// The bytes of a stream that are read at a time.
const CHUNK: u64 = 1024 * 1024;

/// Salvage stops after this many unreadable streams in a row: a damaged index may have no end.
const MAX_UNREADABLE: usize = 1000;

const READING: &str = "reading the index";

/// The treatment of unreadable data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CopyMode {
    /// It ends the copy.
    Strict,
    /// It is left out and reported.
    Salvage,
}

/// A stream could not be copied.
enum Failure {
    /// It cannot be read. The next stream may be readable.
    Source(StorageError),
    /// The copy cannot be written to, or was cancelled.
    Target(StorageError),
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Source(error) | Failure::Target(error) => error,
        }
    }
}

impl JournaledStore {
    /// Copies everything as of this moment into an empty store, including ids and positions.
    /// Others may write meanwhile.
    pub(crate) fn copy_to(
        &self,
        target: &Self,
        mode: CopyMode,
        progress: &mut CopyProgress<'_>,
    ) -> Result<StoreReport, StorageError> {
        let pinned = self.pin()?;
        let mut report = StoreReport::default();
        let mut copier = Copier {
            from: &pinned,
            to: target,
            next_id: pinned.next_id,
            mode,
            report: &mut report,
            progress,
        };
        copier.all_streams()?;
        let next_id = copier.next_id;
        complete(target, next_id)?;
        Ok(report)
    }

    /// The lowest id that no stream has or had.
    #[cfg(feature = "postgres")]
    pub(crate) fn next_id(&self) -> StreamId {
        self.writer.lock().next_id
    }
}

/// Completes a copy whose ids from `next_id` on are not used.
pub(crate) fn complete(target: &JournaledStore, next_id: StreamId) -> Result<(), StorageError> {
    target.reserve_ids(0, next_id).map_err(write_error)?;
    target.checkpoint(&mut target.indexer.lock()).map_err(write_error)
}

/// Writes a part of a copy of an intact store.
#[cfg(feature = "postgres")]
pub(crate) fn write_strictly(target: &JournaledStore, changes: &[Change]) -> Result<(), StorageError> {
    target.commit(changes).map_err(|error| match error {
        error @ Refused::TailMoved { .. } => StorageError::Malformed {
            what: "copying a stream".to_owned(),
            source: error.into(),
        },
        Refused::Failed(error) => write_error(error),
    })
}

/// A copy under way.
struct Copier<'c, 's> {
    from: &'c PinnedStore<'s>,
    to: &'c JournaledStore,
    /// Greater than all ids and incarnations so far.
    next_id: StreamId,
    mode: CopyMode,
    report: &'c mut StoreReport,
    progress: &'c mut CopyProgress<'c>,
}

impl Copier<'_, '_> {
    fn all_streams(&mut self) -> Result<(), StorageError> {
        let failed = |error| storage_error(READING, error);
        let from = self.from;
        let mut rows = from.index.records(Bound::Unbounded).map_err(failed)?;
        let mut unreadable = 0;
        loop {
            let row = catch_redb_panic(READING, || rows.next().transpose().map_err(failed));
            let copied = match row {
                Ok(None) => return Ok(()),
                Ok(Some((name, record))) => self.stream(&name, &record),
                Err(error) => Err(Failure::Source(error)),
            };
            match copied {
                Ok(()) => unreadable = 0,
                Err(Failure::Source(error)) if self.salvages() => {
                    unreadable += 1;
                    self.report.problems.push(error.to_string());
                }
                Err(failure) => return Err(failure.into()),
            }
            if unreadable > MAX_UNREADABLE {
                let problem = "the rest of the index cannot be read";
                self.report.problems.push(problem.to_owned());
                return Ok(());
            }
        }
    }

    fn stream(&mut self, name: &StreamName, record: &StreamRecord) -> Result<(), Failure> {
        self.write(vec![Change::Put {
            name: name.clone(),
            record: record.clone(),
        }])?;
        self.report.streams += 1;
        let tail = self.read(name, |from| from.index.tail(record.id))?;
        let tail = tail.unwrap_or(record.first());
        let end = self.bytes(name, record, tail)?;
        if end < tail {
            self.start_truncated(end, name, record)?;
        }
        let writers = self.read(name, |from| {
            let rows = from.index.writers(record.id)?;
            rows.map(|row| {
                let (key, state) = row?;
                let (id, state) = (record.id, Some(state));
                Ok(Change::Writer { id, key, state })
            })
            .collect::<Result<Vec<_>, redb::Error>>()
        })?;
        self.write(writers)
    }

    /// Starts a new life of a stream that has lost its end: it stays readable and writable, and
    /// offsets of the lost bytes are not reused. A stream with forks is closed, because its forks
    /// would read new appends as inherited ones.
    fn start_truncated(&mut self, end: Position, name: &StreamName, record: &StreamRecord) -> Result<(), Failure> {
        let (name, mut record) = (name.clone(), record.clone());
        if let Some(retention) = &mut record.retention {
            retention.earliest = retention.earliest.min(end);
            retention.marks.clear();
        }
        record.lives.push(Life {
            incarnation: record.incarnation(),
            end,
        });
        record.renewed = Some(self.next_id);
        self.next_id += 1;
        record.closed |= record.forks > 0;
        self.write(vec![Change::Put { name, record }])
    }

    /// Copies a stream's bytes up to `tail` and returns their end. If bytes are missing, the copy
    /// ends with the last complete append or message.
    fn bytes(&mut self, name: &StreamName, record: &StreamRecord, tail: Position) -> Result<Position, Failure> {
        let id = record.id;
        let (mut at, mut written) = (record.first(), record.first());
        // The beginning of an append or message whose rest is still to be read.
        let mut partial = Bytes::new();
        let mut step = CHUNK;
        while at < tail {
            let end = tail.min(at + step);
            let read = self.read(name, |from| {
                from.store.read_indexed(&from.index, id, at..end, Bytes::new())
            });
            let data = match read {
                // Approach the damage in smaller steps.
                Err(Failure::Source(_)) if self.salvages() && end - at > 1 => {
                    step = (end - at) / 2;
                    continue;
                }
                Err(Failure::Source(error)) if self.salvages() => {
                    self.report.problems.push(format!("`{name}` from {at} on: {error}"));
                    return Ok(written);
                }
                read => read?,
            };
            at += data.len() as u64;
            let mut data = match partial.is_empty() {
                true => data,
                false => [partial, data].concat().into(),
            };
            partial = match self.mode {
                CopyMode::Salvage => data.split_off(complete_prefix(record, &data)),
                CopyMode::Strict => Bytes::new(),
            };
            written = self.append(id, written, data)?;
            if at < end {
                let problem = format!("`{name}` ends at {at}, not at {tail}");
                if !self.salvages() {
                    return Err(Failure::Source(StorageError::Corrupt(problem)));
                }
                self.report.problems.push(problem);
                return Ok(written);
            }
        }
        if !partial.is_empty() {
            // No bytes are missing; the engine reports what makes no complete append.
            written = self.append(id, written, partial)?;
        }
        Ok(written)
    }

    fn append(&mut self, id: StreamId, at: Position, data: Bytes) -> Result<Position, Failure> {
        let len = data.len() as u64;
        self.report.bytes += len;
        let data = vec![data];
        self.write(vec![Change::Append { id, at, data }])?;
        Ok(at + len)
    }

    fn salvages(&self) -> bool {
        self.mode == CopyMode::Salvage
    }

    fn read<T>(
        &self,
        name: &StreamName,
        read: impl FnOnce(&PinnedStore<'_>) -> Result<T, redb::Error>,
    ) -> Result<T, Failure> {
        let context = format!("reading `{name}`");
        catch_redb_panic(&context, || {
            read(self.from).map_err(|error| storage_error(&context, error))
        })
        .map_err(Failure::Source)
    }

    fn write(&mut self, batch: Vec<Change>) -> Result<(), Failure> {
        if (self.progress)(self.report).is_break() {
            return Err(Failure::Target(StorageError::Cancelled));
        }
        self.to.commit(&batch).map_err(|error| match error {
            // Two streams of the damaged source have the same id.
            error @ Refused::TailMoved { .. } => Failure::Source(StorageError::Malformed {
                what: "copying a stream".to_owned(),
                source: error.into(),
            }),
            Refused::Failed(error) => Failure::Target(write_error(error)),
        })
    }
}
