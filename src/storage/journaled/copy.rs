//! A store as it is at one moment: to be checked, or copied while it goes on.

use std::{
    collections::HashSet,
    ops::{Bound, ControlFlow},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    JournaledStore,
    base::{Snapshot, guarded, schema::storage_error},
    files,
    memtable::Memtable,
};
use crate::{
    protocol::{ContentType, Kind, StreamName, frame, json},
    storage::{Change, CommitError, Life, Position, Refused, StorageError, StreamId, StreamRecord},
};

/// How much of a stream is read at a time.
const CHUNK: u64 = 1024 * 1024;

/// So many names in a row that cannot be read end the search for more: a damaged index may
/// have no end.
const MAX_UNREADABLE: usize = 1000;

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

/// Is told now and then how far a copy is, and says whether to go on.
pub type Progress<'p> = dyn FnMut(&Report) -> ControlFlow<()> + 'p;

/// Why a stream was not copied.
enum Failure {
    /// It cannot be read. The next one may be.
    Source(StorageError),
    /// The copy cannot be written, or is not wanted any more.
    Target(StorageError),
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Source(error) | Failure::Target(error) => error,
        }
    }
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
    pub(crate) fn copy_to(
        &self,
        target: &Self,
        salvage: bool,
        progress: &mut Progress<'_>,
    ) -> Result<Report, StorageError> {
        let frozen = self.freeze()?;
        let mut report = Report::default();
        let mut unreadable = 0;
        let failed = |error| storage_error("reading the index", error);
        let mut rows = frozen.index.records(Bound::Unbounded).map_err(failed)?;
        let mut copying = Copying {
            from: &frozen,
            to: target,
            next_id: frozen.next_id,
            salvage,
            report: &mut report,
            progress,
        };
        loop {
            let row = guarded("reading the index", || rows.next().transpose().map_err(failed));
            let copied = match row {
                Ok(None) => break,
                Ok(Some((name, record))) => copying.stream(&name, &record),
                Err(error) => Err(Failure::Source(error)),
            };
            match copied {
                Ok(()) => unreadable = 0,
                Err(Failure::Source(error)) if salvage => {
                    unreadable += 1;
                    copying.report.problems.push(error.to_string());
                }
                Err(failure) => return Err(failure.into()),
            }
            if unreadable > MAX_UNREADABLE {
                let problem = "the rest of the index cannot be read";
                copying.report.problems.push(problem.to_owned());
                break;
            }
        }
        let next_id = copying.next_id;
        target.reserve_ids(0, next_id).map_err(not_written)?;
        let mut writer = target.writer.lock();
        target.checkpoint(&mut writer).map_err(not_written)?;
        Ok(report)
    }

    /// Forgets what has not reached the index: nobody needs it, and the disk may be full.
    pub(crate) fn discard(self) {
        self.writer.lock().journal.restart();
        self.view.write().mem = Memtable::default();
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
        // A stream may have a file that does not count yet: a checkpoint was not finished.
        let with_files = runs.iter().map(|(id, _)| id).chain(&ids);
        let known: HashSet<String> = with_files.map(|id| files::path(*id)).collect();
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

/// A copy under way.
struct Copying<'c, 's> {
    from: &'c Frozen<'s>,
    to: &'c JournaledStore,
    /// Greater than all ids and incarnations so far.
    next_id: StreamId,
    salvage: bool,
    report: &'c mut Report,
    progress: &'c mut Progress<'c>,
}

impl Copying<'_, '_> {
    fn stream(&mut self, name: &StreamName, record: &StreamRecord) -> Result<(), Failure> {
        self.write(vec![Change::Put {
            name: name.clone(),
            record: record.clone(),
        }])?;
        self.report.streams += 1;
        let (end, tail) = self.bytes(name, record)?;
        if end < tail {
            self.begin_anew(end, name, record)?;
        }
        let writers = self.read(name, |frozen| {
            let rows = frozen.index.writers(record.id)?;
            rows.map(|row| {
                let (key, state) = row?;
                let (id, state) = (record.id, Some(state));
                Ok(Change::Writer { id, key, state })
            })
            .collect::<Result<Vec<_>, redb::Error>>()
        })?;
        self.write(writers)
    }

    /// Of a stream that has lost its end, what is left is there to be read, and what comes next too,
    /// with offsets of another life: readers may hold those of what was lost. A stream that has
    /// forks takes nothing, which they would take for what they have inherited.
    fn begin_anew(&mut self, end: Position, name: &StreamName, record: &StreamRecord) -> Result<(), Failure> {
        let (name, mut record) = (name.clone(), record.clone());
        if let Some(past) = &mut record.retention {
            past.earliest = past.earliest.min(end);
            past.marks.clear();
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

    /// Copies a stream's bytes; returns where they end, and where they should. Where something is
    /// missing they end with a whole append or message.
    fn bytes(&mut self, name: &StreamName, record: &StreamRecord) -> Result<(Position, Position), Failure> {
        let id = record.id;
        let (mut at, mut written) = (record.first(), record.first());
        let tail = self.read(name, |frozen| frozen.index.tail(id))?.unwrap_or(at);
        let (mut torn, mut step) = (Bytes::new(), CHUNK);
        while at < tail {
            let end = tail.min(at + step);
            let read = self.read(name, |frozen| {
                frozen.store.read_indexed(&frozen.index, id, at..end, Bytes::new())
            });
            let data = match read {
                // The bytes before the damage are read piece by piece.
                Err(Failure::Source(_)) if self.salvage && end - at > 1 => {
                    step = (end - at) / 2;
                    continue;
                }
                Err(Failure::Source(error)) if self.salvage => {
                    self.report.problems.push(format!("`{name}` from {at} on: {error}"));
                    return Ok((written, tail));
                }
                read => read?,
            };
            at += data.len() as u64;
            let mut data = match torn.is_empty() {
                true => data,
                false => [torn, data.clone()].concat().into(),
            };
            if self.salvage {
                torn = data.split_off(whole(record, &data));
            } else {
                torn = Bytes::new();
            }
            self.report.bytes += data.len() as u64;
            let here = written;
            written += data.len() as u64;
            let data = vec![data];
            self.write(vec![Change::Append { id, at: here, data }])?;
            if at < end {
                let problem = format!("`{name}` ends at {at}, not at {tail}");
                if !self.salvage {
                    return Err(Failure::Source(StorageError::Corrupt(problem)));
                }
                self.report.problems.push(problem);
                return Ok((written, tail));
            }
        }
        if !torn.is_empty() {
            // Nothing is missing; what it means is not this store's business.
            let here = written;
            written += torn.len() as u64;
            let data = vec![torn];
            self.write(vec![Change::Append { id, at: here, data }])?;
        }
        Ok((written, tail))
    }

    fn read<T>(
        &self,
        name: &StreamName,
        read: impl FnOnce(&Frozen<'_>) -> Result<T, redb::Error>,
    ) -> Result<T, Failure> {
        let context = format!("reading `{name}`");
        guarded(&context, || {
            read(self.from).map_err(|error| storage_error(&context, error))
        })
        .map_err(Failure::Source)
    }

    fn write(&mut self, batch: Vec<Change>) -> Result<(), Failure> {
        if (self.progress)(self.report).is_break() {
            return Err(Failure::Target(StorageError::Io {
                context: "copying".to_owned(),
                source: std::io::Error::new(std::io::ErrorKind::Interrupted, "ended before it was complete"),
            }));
        }
        self.to.commit(&batch).map_err(|error| match error {
            // Two streams of one id.
            error @ Refused::TailMoved { .. } => Failure::Source(StorageError::Corrupt(error.to_string())),
            Refused::Failed(error) => Failure::Target(not_written(error)),
        })
    }
}

impl Frozen<'_> {
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
        if let Some(hole) = self.index.hole(record.id)? {
            problems.push(format!(
                "the file of `{name}` has lost the bytes from {} to {}",
                hole.start, hole.end
            ));
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

/// How many bytes of a run are whole appends, or whole messages.
fn whole(record: &StreamRecord, run: &[u8]) -> usize {
    if record.framing.is_framed() {
        let mut frames = frame::frames(run, record.framing);
        frames.by_ref().for_each(drop);
        return frames.at();
    }
    match ContentType::parse(&record.content_type).map(|content_type| content_type.kind()) {
        Ok(Kind::Json) => json::whole_messages(run),
        Ok(Kind::Text | Kind::Binary) | Err(_) => run.len(),
    }
}

fn not_written(error: CommitError) -> StorageError {
    match error {
        CommitError::Storage(error) => error,
        CommitError::Full(what) => StorageError::Io {
            context: what,
            source: std::io::ErrorKind::StorageFull.into(),
        },
        error @ CommitError::Damaged { .. } => StorageError::Corrupt(error.to_string()),
    }
}
