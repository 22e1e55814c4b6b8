//! Reading the index.

use std::ops::{Bound, Range};

use bytes::BytesMut;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::{
    schema::{
        DATA, DUE, DataRead, DueRead, FILES, FilesRead, GARBAGE, GarbageRead, HOLES, HolesRead, NAMES, NamesRead,
        WRITERS, WritersRead, decode_record, decode_writer,
    },
    spelling::{self, SpellingsRead},
};
use crate::{
    protocol::{Millis, StreamName},
    storage::{Position, StreamId, StreamRecord, WriterState},
};

/// The index as of a checkpoint.
pub(crate) struct Snapshot {
    names: NamesRead,
    /// `None` if every name is spelled as its key.
    spellings: Option<SpellingsRead>,
    data: DataRead,
    /// `None` if no stream has a file.
    files: Option<FilesRead>,
    writers: WritersRead,
    due: DueRead,
    /// `None` if no removed stream is left to delete.
    garbage: Option<GarbageRead>,
    /// `None` if no stream has lost bytes.
    holes: Option<HolesRead>,
}

/// The part of a stream that is in its data file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// The position of the file's first byte.
    pub(crate) start: Position,
    /// The number of valid bytes in the file.
    pub(crate) len: u64,
}

impl Extent {
    /// The position after its last byte.
    pub(crate) fn end(self) -> Position {
        self.start + self.len
    }
}

impl Snapshot {
    pub(crate) fn take(db: &Database) -> Result<Self, redb::Error> {
        let txn = db.begin_read()?;
        let files = txn.open_table(FILES)?;
        let garbage = txn.open_table(GARBAGE)?;
        let holes = txn.open_table(HOLES)?;
        Ok(Self {
            names: txn.open_table(NAMES)?,
            spellings: spelling::open(&txn)?,
            data: txn.open_table(DATA)?,
            files: (!files.is_empty()?).then_some(files),
            writers: txn.open_table(WRITERS)?,
            due: txn.open_table(DUE)?,
            garbage: (!garbage.is_empty()?).then_some(garbage),
            holes: (!holes.is_empty()?).then_some(holes),
        })
    }

    pub(crate) fn record(&self, name: &StreamName) -> Result<Option<StreamRecord>, redb::Error> {
        let found = self.names.get(name.key())?;
        found.map(|row| decode_record(name.key(), row.value())).transpose()
    }

    /// A name as spelled at the creation of its stream.
    pub(crate) fn spelling(&self, name: &StreamName) -> Result<StreamName, redb::Error> {
        let spelling = self.spellings.as_ref().map(|table| table.get(name.key())).transpose()?;
        parse_name(
            spelling
                .flatten()
                .as_ref()
                .map_or(name.key(), |spelling| spelling.value()),
        )
    }

    /// The end of a stream's bytes; `None` if there is no such stream.
    pub(crate) fn tail(&self, id: StreamId) -> Result<Option<Position>, redb::Error> {
        // The rows of a removed stream stay until they are reclaimed.
        if let Some(garbage) = &self.garbage
            && garbage.get(id)?.is_some()
        {
            return Ok(None);
        }
        if let Some(extent) = self.extent(id)? {
            return Ok(Some(extent.end()));
        }
        last_row_end(&self.data, id)
    }

    /// The position of a stream's first row.
    pub(crate) fn first_row(&self, id: StreamId) -> Result<Option<Position>, redb::Error> {
        let first = self.data.range((id, 0)..=(id, u64::MAX))?.next().transpose()?;
        Ok(first.map(|(key, _)| key.value().1))
    }

    /// The part of a stream that is in its data file.
    pub(crate) fn extent(&self, id: StreamId) -> Result<Option<Extent>, redb::Error> {
        let Some(files) = &self.files else { return Ok(None) };
        Ok(files.get(id)?.map(|row| {
            let (start, len) = row.value();
            Extent { start, len }
        }))
    }

    /// The range of bytes that a stream has lost.
    pub(crate) fn hole(&self, id: StreamId) -> Result<Option<Range<Position>>, redb::Error> {
        let Some(holes) = &self.holes else { return Ok(None) };
        Ok(holes.get(id)?.map(|row| {
            let (start, end) = row.value();
            start..end
        }))
    }

    /// A stream's writers by key.
    pub(crate) fn writers(
        &self,
        id: StreamId,
    ) -> Result<impl Iterator<Item = Result<(String, WriterState), redb::Error>>, redb::Error> {
        let rows = self.writers.range((id, "")..(id.saturating_add(1), ""))?;
        Ok(rows.map(move |row| {
            let (key, state) = row?;
            Ok((key.value().1.to_owned(), decode_writer(id, state.value())?))
        }))
    }

    /// The positions and lengths of a stream's rows.
    pub(crate) fn rows(
        &self,
        id: StreamId,
    ) -> Result<impl Iterator<Item = Result<(Position, u64), redb::Error>>, redb::Error> {
        let rows = self.data.range((id, 0)..=(id, u64::MAX))?;
        Ok(rows.map(|row| {
            let (key, value) = row?;
            Ok((key.value().1, value.value().len() as u64))
        }))
    }

    /// The extents of all streams that have a data file.
    pub(crate) fn extents(&self) -> Result<Vec<(StreamId, Extent)>, redb::Error> {
        let Some(files) = &self.files else {
            return Ok(Vec::new());
        };
        let rows = files.iter()?.map(|row| {
            let (id, extent) = row?;
            let (start, len) = extent.value();
            Ok((id.value(), Extent { start, len }))
        });
        rows.collect()
    }

    /// Whether a name is listed as due at a time.
    pub(crate) fn is_due(&self, at: Millis, name: &StreamName) -> Result<bool, redb::Error> {
        Ok(self.due.get((at, name.key()))?.is_some())
    }

    /// Records in the order of their names, beginning at `from`.
    pub(crate) fn records(
        &self,
        from: Bound<&str>,
    ) -> Result<impl Iterator<Item = Result<(StreamName, StreamRecord), redb::Error>>, redb::Error> {
        let rows = self.names.range::<&str>((from, Bound::Unbounded))?;
        Ok(rows.map(|row| {
            let (key, record) = row?;
            let name = self.spelling(&parse_name(key.value())?)?;
            Ok((name, decode_record(key.value(), record.value())?))
        }))
    }

    /// Names of due streams, soonest first.
    pub(crate) fn due(
        &self,
        now: Millis,
    ) -> Result<impl Iterator<Item = Result<(Millis, StreamName), redb::Error>>, redb::Error> {
        let rows = self.due.range(..(now.saturating_add(1), ""))?;
        Ok(rows.map(|row| {
            let (key, _) = row?;
            let (at, name) = key.value();
            Ok((at, parse_name(name)?))
        }))
    }

    /// Appends the bytes of a range that are in rows to `out`.
    pub(crate) fn read_rows(
        &self,
        id: StreamId,
        range: &Range<Position>,
        out: &mut BytesMut,
    ) -> Result<(), redb::Error> {
        if range.is_empty() {
            return Ok(());
        }
        // The row with the range's first byte may begin before it.
        let before = self.data.range((id, 0)..=(id, range.start))?.next_back().transpose()?;
        let begin = before.map_or(range.start, |(key, _)| key.value().1);
        for row in self.data.range((id, begin)..(id, range.end))? {
            let (key, value) = row?;
            let (start, bytes) = (key.value().1, value.value());
            let cut = |position: Position| {
                usize::try_from(position.saturating_sub(start)).map_or(bytes.len(), |at| at.min(bytes.len()))
            };
            out.extend_from_slice(bytes.get(cut(range.start)..cut(range.end)).unwrap_or_default());
        }
        Ok(())
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

pub(super) fn last_row_end(
    data: &impl ReadableTable<(u64, u64), &'static [u8]>,
    id: StreamId,
) -> Result<Option<Position>, redb::Error> {
    let last = data.range((id, 0)..=(id, u64::MAX))?.next_back().transpose()?;
    Ok(last.map(|(key, value)| key.value().1 + value.value().len() as u64))
}

fn parse_name(name: &str) -> Result<StreamName, redb::Error> {
    StreamName::stored(name).map_err(|error| redb::Error::Corrupted(format!("the name `{name}`: {error}")))
}
