//! Checking that the parts of a store agree.

use std::{collections::HashSet, ops::Bound};

use super::{JournaledStore, pinned::PinnedStore};
use crate::{
    protocol::StreamName,
    storage::{Position, StorageError, StoreReport, StreamId, StreamRecord, data_files, index::schema::storage_error},
};

impl JournaledStore {
    /// Checks that records, bytes, files and due times agree. Writes nothing but a checkpoint.
    pub(crate) fn inspect(&self) -> Result<StoreReport, StorageError> {
        let pinned = self.pin()?;
        let mut report = StoreReport::default();
        let failed = |error| storage_error("reading the index", error);
        let mut ids = HashSet::new();
        for row in pinned.index.records(Bound::Unbounded).map_err(failed)? {
            match row {
                Ok((name, record)) => {
                    report.streams += 1;
                    if !ids.insert(record.id) {
                        let problem = format!("`{name}` and another stream share the id {}", record.id);
                        report.problems.push(problem);
                    }
                    pinned.inspect_stream(&name, &record, &mut report).map_err(failed)?;
                }
                Err(error) => report.problems.push(failed(error).to_string()),
            }
        }
        let totals = pinned.totals;
        let (streams, bytes) = (report.streams, report.bytes);
        if report.problems.is_empty() && (totals.streams, totals.bytes) != (streams, bytes) {
            report.problems.push(format!(
                "the index counts {} streams with {} bytes, but holds {streams} with {bytes}",
                totals.streams, totals.bytes
            ));
        }
        report.problems.extend(pinned.stray_files(&ids)?);
        Ok(report)
    }
}

impl PinnedStore<'_> {
    /// Data files that belong to no stream.
    fn stray_files(&self, ids: &HashSet<StreamId>) -> Result<Vec<String>, StorageError> {
        let extents = self.index.extents();
        let extents = extents.map_err(|error| storage_error("reading the index", error))?;
        // An interrupted checkpoint leaves the file of a stream that has no extent yet.
        let with_files = extents.iter().map(|(id, _)| id).chain(ids);
        let known: HashSet<String> = with_files.map(|id| data_files::path(*id)).collect();
        let found = self.store.files.paths().map_err(|source| StorageError::Io {
            context: "listing data files".to_owned(),
            source,
        })?;
        let strays = found.into_iter().filter(|path| !known.contains(path));
        Ok(strays.map(|path| format!("{path} belongs to no stream")).collect())
    }

    fn inspect_stream(
        &self,
        name: &StreamName,
        record: &StreamRecord,
        report: &mut StoreReport,
    ) -> Result<(), redb::Error> {
        let mut problems = Vec::new();
        let rows_end = self.inspect_rows(name, record, &mut problems)?;
        if let Some(hole) = self.index.hole(record.id)? {
            problems.push(format!(
                "the file of `{name}` has lost the bytes from {} to {}",
                hole.start, hole.end
            ));
        }
        let end = self.inspect_file(name, record.id, rows_end, &mut problems)?;
        report.bytes += end.saturating_sub(record.first());
        if let Some(due_at) = record.due_at
            && !self.index.is_due(due_at, name)?
        {
            problems.push(format!("`{name}` is due at {due_at} but is not listed as due"));
        }
        if record.id >= self.next_id && self.next_id > 1 {
            problems.push(format!("`{name}` has id {}, which has not been allocated", record.id));
        }
        report.problems.append(&mut problems);
        Ok(())
    }

    /// Checks that a stream's rows are contiguous. Returns their end.
    fn inspect_rows(
        &self,
        name: &StreamName,
        record: &StreamRecord,
        problems: &mut Vec<String>,
    ) -> Result<Position, redb::Error> {
        let extent = self.index.extent(record.id)?;
        let begin = self.begin(record, extent.map(|extent| extent.start))?;
        let first = record.first();
        if begin > first {
            problems.push(format!("`{name}` begins at {begin} instead of {first}"));
        }
        let (mut at, mut rows) = (begin, 0);
        for row in self.index.rows(record.id)? {
            let (start, len) = row?;
            if start != at {
                problems.push(format!("`{name}` continues at {start} instead of {at}"));
            }
            at = start + len;
            rows += 1;
        }
        if rows == 0 && extent.is_none() {
            problems.push(format!("`{name}` has a record but neither rows nor a file"));
        }
        Ok(at)
    }

    /// Checks a stream's data file, if it has one. Returns the end of the stream.
    fn inspect_file(
        &self,
        name: &StreamName,
        id: StreamId,
        rows_end: Position,
        problems: &mut Vec<String>,
    ) -> Result<Position, redb::Error> {
        let Some(extent) = self.index.extent(id)? else {
            return Ok(rows_end);
        };
        if extent.start != rows_end {
            let start = extent.start;
            problems.push(format!(
                "the file of `{name}` begins at {start}, but its rows end at {rows_end}"
            ));
        }
        match self.store.files.len(id)? {
            Some(len) if len >= extent.len => {}
            Some(len) => problems.push(format!("the file of `{name}` has {len} bytes, not {}", extent.len)),
            None => problems.push(format!("the file of `{name}` is missing")),
        }
        Ok(extent.end())
    }

    /// The position of a stream's first byte. Trimmed bytes may or may not be reclaimed.
    fn begin(&self, record: &StreamRecord, file_start: Option<Position>) -> Result<Position, redb::Error> {
        if record.first() == record.start {
            return Ok(record.start);
        }
        let first_row = self.index.first_row(record.id)?;
        Ok(first_row.or(file_start).unwrap_or(record.start))
    }
}
