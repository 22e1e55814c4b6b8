//! Giving space back: what removed streams have left, and the past that others have given up.

use redb::{Database, ReadableTable, ReadableTableMetadata, Table};

use super::{DATA, FILES, GARBAGE, HOLES, META, META_CREDIT, TRIMMED, WRITERS, schema::Data, write::begin};
use crate::storage::{Position, StreamId, data_files::DataFiles};

/// How many rows one call removes at most.
const MOST_ROWS: usize = 512;

/// One call's work.
struct Slice<'t> {
    data: Data<'t>,
    files: Table<'t, u64, (u64, u64)>,
    on_disk: &'t DataFiles,
    /// How many rows may still go.
    left: usize,
    /// How many bytes went.
    freed: u64,
}

/// Removes some of what nobody reads any more, and adds what that gives back to `credit`. Returns
/// what it is then, and whether more waits.
pub(crate) fn reclaim(db: &Database, on_disk: &DataFiles, credit: u64) -> Result<(u64, bool), redb::Error> {
    let txn = begin(db)?;
    let (credit, more) = {
        let mut garbage = txn.open_table(GARBAGE)?;
        let mut writers = txn.open_table(WRITERS)?;
        let mut trimmed = txn.open_table(TRIMMED)?;
        let mut holes = txn.open_table(HOLES)?;
        let mut slice = Slice {
            data: txn.open_table(DATA)?,
            files: txn.open_table(FILES)?,
            on_disk,
            left: MOST_ROWS,
            freed: 0,
        };
        while slice.left > 0 {
            let Some(id) = first(&garbage)?.map(|(id, ())| id) else {
                break;
            };
            if slice.remove(id, &mut writers)? {
                garbage.remove(id)?;
                trimmed.remove(id)?;
                holes.remove(id)?;
            }
        }
        while slice.left > 0 {
            let Some((id, kept_from)) = first(&trimmed)? else { break };
            if slice.trim(id, kept_from)? {
                trimmed.remove(id)?;
            }
        }
        let credit = credit.saturating_add(slice.freed);
        txn.open_table(META)?.insert(META_CREDIT, credit)?;
        (credit, !garbage.is_empty()? || !trimmed.is_empty()?)
    };
    txn.commit()?;
    Ok((credit, more))
}

fn first<V>(table: &Table<'_, u64, V>) -> Result<Option<(StreamId, V)>, redb::Error>
where
    V: for<'v> redb::Value<SelfType<'v> = V> + 'static,
{
    Ok(table.first()?.map(|(id, value)| (id.value(), value.value())))
}

impl Slice<'_> {
    /// Clears away what a removed stream has left. Returns whether that is done.
    fn remove(
        &mut self,
        id: StreamId,
        writers: &mut Table<'_, (u64, &'static str), &'static [u8]>,
    ) -> Result<bool, redb::Error> {
        if self.files.get(id)?.is_some() {
            // Before the row that names it: a crash in between leaves a row without a file,
            // not a file that nobody knows of.
            self.on_disk.remove(id)?;
            self.files.remove(id)?;
        }
        for (start, _) in self.rows(id, Position::MAX)? {
            self.remove_row(id, start)?;
        }
        let mut known = Vec::new();
        for row in writers.range((id, "")..(id.saturating_add(1), ""))?.take(self.left) {
            known.push(row?.0.value().1.to_owned());
        }
        self.left -= known.len();
        for key in known {
            writers.remove((id, key.as_str()))?;
        }
        Ok(self.take_one())
    }

    /// Clears away what a stream has given up. Returns whether that is done.
    ///
    /// A row that reaches beyond `first` stays whole, and one stays in any case where there is
    /// no file, if an empty one: it says where the stream ends.
    fn trim(&mut self, id: StreamId, first: Position) -> Result<bool, redb::Error> {
        let run = self.files.get(id)?.map(|run| run.value());
        for (start, end) in self.rows(id, first)? {
            if end > first {
                continue;
            }
            let is_last = self.data.range((id, start + 1)..=(id, u64::MAX))?.next().is_none();
            if start < end {
                self.remove_row(id, start)?;
                if is_last && run.is_none() {
                    self.data.insert((id, end), [].as_slice())?;
                }
            }
        }
        if self.left == 0 {
            return Ok(false);
        }
        if let Some((start, len)) = run
            && first > start
        {
            self.on_disk.give_back(id, len.min(first - start))?;
        }
        Ok(self.take_one())
    }

    /// Where the rows of a stream that begin below `below` begin and end, as many as may go.
    fn rows(&mut self, id: StreamId, below: Position) -> Result<Vec<(Position, Position)>, redb::Error> {
        let mut rows = Vec::new();
        for row in self.data.range((id, 0)..(id, below))?.take(self.left) {
            let (key, value) = row?;
            let start = key.value().1;
            rows.push((start, start + value.value().len() as u64));
        }
        self.left -= rows.len();
        Ok(rows)
    }

    fn remove_row(&mut self, id: StreamId, start: Position) -> Result<(), redb::Error> {
        self.freed += self
            .data
            .remove((id, start))?
            .map_or(0, |value| value.value().len() as u64);
        Ok(())
    }

    /// Counts one row more; `false`: none may go any more.
    fn take_one(&mut self) -> bool {
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}
