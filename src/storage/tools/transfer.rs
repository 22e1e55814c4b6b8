//! Copying a store to one of another kind. Names, ids, positions and producers stay the same.

use std::ops::Range;

use bytes::Bytes;

use crate::{
    protocol::StreamName,
    storage::{Change, CopyProgress, Position, StorageError, StoreReport, Stored, StreamId, WriterState},
};

/// The streams that are read at a time.
const PAGE: usize = 256;
/// The bytes of a stream that are read at a time.
const CHUNK: u64 = 1024 * 1024;

/// A stream and its writers.
pub(crate) struct Entry {
    pub(crate) name: StreamName,
    pub(crate) stored: Stored,
    pub(crate) writers: Vec<(String, WriterState)>,
}

/// A store that is copied. Nobody writes to it meanwhile.
pub(crate) trait Source {
    /// Up to `limit` streams in the order of their keys, those after `after`. Includes the streams that
    /// the server keeps for itself.
    fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StorageError>;

    /// The bytes of a range, fewer if the stream ends earlier.
    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError>;

    /// The lowest id that no stream has or had.
    fn next_id(&self) -> Result<StreamId, StorageError>;
}

/// An empty store that the copy is written to.
pub(crate) trait Sink {
    /// Writes changes of one stream, which begin with its record.
    fn write(&mut self, changes: Vec<Change>) -> Result<(), StorageError>;

    /// Completes the copy. Ids from `next_id` on are not used.
    fn finish(&mut self, next_id: StreamId) -> Result<(), StorageError>;
}

/// Copies everything.
pub(crate) fn transfer(
    source: &dyn Source,
    sink: &mut dyn Sink,
    progress: &mut CopyProgress<'_>,
) -> Result<StoreReport, StorageError> {
    let mut report = StoreReport::default();
    let mut after: Option<String> = None;
    loop {
        let page = source.page(after.as_deref(), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.key().to_owned());
        for entry in page {
            report.bytes += stream(source, sink, entry)?;
            report.streams += 1;
            if progress(&report).is_break() {
                return Err(StorageError::Cancelled);
            }
        }
    }
    sink.finish(source.next_id()?)?;
    Ok(report)
}

/// Copies a stream and returns the number of its bytes.
fn stream(source: &dyn Source, sink: &mut dyn Sink, entry: Entry) -> Result<u64, StorageError> {
    let Entry { name, stored, writers } = entry;
    let (id, first, tail) = (stored.record.id, stored.record.first(), stored.tail);
    let shown = name.clone();
    sink.write(vec![Change::Put {
        name,
        record: stored.record,
    }])?;
    let mut at = first;
    while at < tail {
        let end = tail.min(at + CHUNK);
        let data = source.read(id, at..end)?;
        let next = at + data.len() as u64;
        if next != end {
            return Err(StorageError::Corrupt(format!(
                "`{shown}` ends at {next}, not at {tail}"
            )));
        }
        let data = vec![data];
        sink.write(vec![Change::Append { id, at, data }])?;
        at = end;
    }
    let writers = writers.into_iter().map(|(key, state)| {
        let state = Some(state);
        Change::Writer { id, key, state }
    });
    sink.write(writers.collect())?;
    Ok(tail.saturating_sub(first))
}
