//! A store as it is at one moment: to be checked, or copied while it goes on.

use std::{collections::HashSet, ops::Bound, sync::Arc};

use bytes::Bytes;

use super::{
    JournaledStore,
    base::{Snapshot, schema::storage_error},
    files,
};
use crate::{
    protocol::StreamName,
    storage::{Change, CommitError, Position, StorageError, StreamId, StreamRecord},
};

/// How much of a stream is read at a time.
const CHUNK: u64 = 1024 * 1024;

/// What was found, or copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many streams.
    pub streams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, in words.
    pub problems: Vec<String>,
}

/// The store at one moment. While it lives, nothing that it needs is cleared away.
struct Frozen<'s> {
    store: &'s JournaledStore,
    index: Arc<Snapshot>,
    next_id: StreamId,
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.store.writer.lock().copies -= 1;
    }
}

impl JournaledStore {
    fn freeze(&self) -> Result<Frozen<'_>, StorageError> {
        let mut writer = self.writer.lock();
        self.checkpoint(&mut writer).map_err(not_written)?;
        writer.copies += 1;
        Ok(Frozen {
            store: self,
            index: Arc::clone(&self.view.read().index),
            next_id: writer.next_id,
        })
    }

    /// Copies everything into an empty store, ids and positions included. Others may write
    /// meanwhile; the copy is of the moment of the call. With `salvage`, what cannot be read is
    /// left out and reported instead of ending it.
    pub(crate) fn copy_to(&self, target: &Self, salvage: bool) -> Result<Report, StorageError> {
        let frozen = self.freeze()?;
        let mut report = Report::default();
        let failed = |error| storage_error("reading the index", error);
        for row in frozen.index.records(Bound::Unbounded).map_err(failed)? {
            let copied = row.map_err(failed).and_then(|(name, record)| {
                report.streams += 1;
                frozen.copy_stream(target, &name, &record, &mut report, salvage)
            });
            match copied {
                Err(error) if salvage => report.problems.push(error.to_string()),
                copied => copied?,
            }
        }
        target.reserve_ids(frozen.next_id).map_err(not_written)?;
        let mut writer = target.writer.lock();
        target.checkpoint(&mut writer).map_err(not_written)?;
        Ok(report)
    }

    /// Looks whether everything fits together. Changes nothing but what a checkpoint does.
    pub(crate) fn inspect(&self) -> Result<Report, StorageError> {
        let frozen = self.freeze()?;
        let mut report = Report::default();
        let failed = |error| storage_error("reading the index", error);
        let mut ids = HashSet::new();
        for row in frozen.index.records(Bound::Unbounded).map_err(failed)? {
            match row {
                Ok((name, record)) => {
                    report.streams += 1;
                    if !ids.insert(record.id) {
                        report
                            .problems
                            .push(format!("`{name}` shares its id {} with another", record.id));
                    }
                    let problems = frozen.inspect_stream(&name, &record, &mut report.bytes);
                    report.problems.extend(problems.map_err(failed)?);
                }
                Err(error) => report.problems.push(failed(error).to_string()),
            }
        }
        let usage = self.usage();
        if report.problems.is_empty() && (usage.streams, usage.bytes) != (report.streams, report.bytes) {
            let (streams, bytes) = (report.streams, report.bytes);
            report.problems.push(format!(
                "the totals say {usage:?}, there are {streams} streams with {bytes} bytes"
            ));
        }
        let runs = frozen.index.runs().map_err(failed)?;
        let known: HashSet<String> = runs.iter().map(|(id, _)| files::path(*id)).collect();
        let found = self.files.all().map_err(|source| StorageError::Io {
            context: "listing data files".to_owned(),
            source,
        })?;
        let strays = found.into_iter().filter(|path| !known.contains(path));
        report
            .problems
            .extend(strays.map(|path| format!("{path} belongs to no stream")));
        Ok(report)
    }
}

impl Frozen<'_> {
    fn copy_stream(
        &self,
        target: &JournaledStore,
        name: &StreamName,
        record: &StreamRecord,
        report: &mut Report,
        salvage: bool,
    ) -> Result<(), StorageError> {
        let failed = |error| storage_error(&format!("reading `{name}`"), error);
        let put = Change::Put {
            name: name.clone(),
            record: record.clone(),
        };
        target.commit(&[put]).map_err(not_written)?;
        let mut at = record.first();
        let tail = self.index.tail(record.id).map_err(failed)?.unwrap_or(at);
        while at < tail {
            let end = tail.min(at + CHUNK);
            let read = self.store.read_indexed(&self.index, record.id, at..end, Bytes::new());
            let data = match read.map_err(failed) {
                Ok(data) if data.len() as u64 == end - at => data,
                Ok(data) => {
                    let got = at + data.len() as u64;
                    let problem = format!("`{name}` ends at {got}, not at {tail}");
                    if !salvage {
                        return Err(StorageError::Corrupt(problem));
                    }
                    report.problems.push(problem);
                    data
                }
                Err(error) if salvage => {
                    report.problems.push(format!("`{name}` from {at} on: {error}"));
                    break;
                }
                Err(error) => return Err(error),
            };
            let len = data.len() as u64;
            let append = Change::Append {
                id: record.id,
                at,
                data: vec![data],
            };
            target.commit(&[append]).map_err(not_written)?;
            report.bytes += len;
            at += len;
            if at < end {
                break;
            }
        }
        let mut producers = Vec::new();
        for row in self.index.producers(record.id).map_err(failed)? {
            let (producer, state) = row.map_err(failed)?;
            producers.push(Change::Producer {
                id: record.id,
                producer,
                state,
            });
        }
        target.commit(&producers).map_err(not_written)
    }

    /// Where a stream's bytes begin: what was given up of its past may be gone or not.
    fn begin(&self, record: &StreamRecord, run: Option<Position>) -> Result<Position, redb::Error> {
        if record.first() == record.start {
            return Ok(record.start);
        }
        let row = self.index.first_row(record.id)?;
        Ok(row.or(run).unwrap_or(record.start))
    }

    fn inspect_stream(
        &self,
        name: &StreamName,
        record: &StreamRecord,
        bytes: &mut u64,
    ) -> Result<Vec<String>, redb::Error> {
        let mut problems = Vec::new();
        let run = self.index.run(record.id)?;
        let begin = self.begin(record, run.map(|run| run.start))?;
        if begin > record.first() {
            let first = record.first();
            problems.push(format!("`{name}` begins at {begin}, {first} should be there"));
        }
        let (mut at, mut rows) = (begin, 0);
        for row in self.index.rows(record.id)? {
            let (start, len) = row?;
            if start != at {
                problems.push(format!("`{name}` has {start} where {at} should follow"));
            }
            at = start + len;
            rows += 1;
        }
        if rows == 0 && run.is_none() {
            problems.push(format!("`{name}` has a record and no rows"));
        }
        if let Some(run) = run {
            if run.start != at {
                problems.push(format!(
                    "the file of `{name}` begins at {}, its rows end at {at}",
                    run.start
                ));
            }
            match self.store.files.len(record.id)? {
                Some(len) if len >= run.len => {}
                Some(len) => problems.push(format!("the file of `{name}` has {len} bytes, not {}", run.len)),
                None => problems.push(format!("the file of `{name}` is missing")),
            }
            at = run.start + run.len;
        }
        *bytes += at.saturating_sub(record.first());
        if let Some(due_at) = record.due_at
            && !self.index.is_due(due_at, name)?
        {
            problems.push(format!("`{name}` is due at {due_at}, and is not among what is due"));
        }
        if record.id >= self.next_id && self.next_id > 1 {
            problems.push(format!(
                "`{name}` has the id {}, which is to be handed out yet",
                record.id
            ));
        }
        Ok(problems)
    }
}

fn not_written(error: CommitError) -> StorageError {
    match error {
        CommitError::Storage(error) => error,
        CommitError::Full(what) => StorageError::Io {
            context: what,
            source: std::io::ErrorKind::StorageFull.into(),
        },
        error @ CommitError::TailMoved { .. } => StorageError::Corrupt(error.to_string()),
    }
}
