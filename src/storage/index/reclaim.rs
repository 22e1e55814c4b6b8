//! Reclaiming the space of removed and trimmed streams, in small transactions.

use redb::{Database, ReadableTable, ReadableTableMetadata, Table};

use super::schema::{DATA, Data, FILES, GARBAGE, HOLES, META, META_CREDIT, TRIMMED, WRITERS, begin_write};
use crate::storage::{Position, StreamId, data_files::DataFiles};

/// The most rows that one pass removes.
const MAX_ROWS: usize = 512;

/// One bounded pass.
struct Pass<'t> {
    data: Data<'t>,
    files: Table<'t, u64, (u64, u64)>,
    data_files: &'t DataFiles,
    /// The rows that may still be removed.
    budget: usize,
    /// The bytes removed.
    freed: u64,
}

/// Removes some unreachable data and adds its size to `credit`. Returns the new credit and whether
/// more is left.
pub(crate) fn reclaim(db: &Database, data_files: &DataFiles, credit: u64) -> Result<(u64, bool), redb::Error> {
    let txn = begin_write(db)?;
    let (credit, more) = {
        let mut garbage = txn.open_table(GARBAGE)?;
        let mut writers = txn.open_table(WRITERS)?;
        let mut trimmed = txn.open_table(TRIMMED)?;
        let mut holes = txn.open_table(HOLES)?;
        let mut pass = Pass {
            data: txn.open_table(DATA)?,
            files: txn.open_table(FILES)?,
            data_files,
            budget: MAX_ROWS,
            freed: 0,
        };
        while pass.budget > 0 {
            let Some(id) = first(&garbage)?.map(|(id, ())| id) else {
                break;
            };
            if pass.remove(id, &mut writers)? {
                garbage.remove(id)?;
                trimmed.remove(id)?;
                holes.remove(id)?;
            }
        }
        while pass.budget > 0 {
            let Some((id, first_kept)) = first(&trimmed)? else {
                break;
            };
            if pass.trim(id, first_kept)? {
                trimmed.remove(id)?;
            }
        }
        let credit = credit.saturating_add(pass.freed);
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

impl Pass<'_> {
    /// Removes what is left of a removed stream. Returns whether that is complete.
    fn remove(
        &mut self,
        id: StreamId,
        writers: &mut Table<'_, (u64, &'static str), &'static [u8]>,
    ) -> Result<bool, redb::Error> {
        if self.files.get(id)?.is_some() {
            // File first: a crash in between leaves a row without a file, not an orphaned file.
            self.data_files.remove(id)?;
            self.files.remove(id)?;
        }
        for (start, _) in self.rows(id, Position::MAX)? {
            self.remove_row(id, start)?;
        }
        let mut keys = Vec::new();
        for row in writers.range((id, "")..(id.saturating_add(1), ""))?.take(self.budget) {
            keys.push(row?.0.value().1.to_owned());
        }
        self.budget -= keys.len();
        for key in keys {
            writers.remove((id, key.as_str()))?;
        }
        Ok(self.spend_one())
    }

    /// Removes what a stream has below `first`. Returns whether that is complete.
    ///
    /// A row that contains `first` stays whole. A stream without a file keeps at least one row,
    /// possibly empty, which marks its end.
    fn trim(&mut self, id: StreamId, first: Position) -> Result<bool, redb::Error> {
        let extent = self.files.get(id)?.map(|extent| extent.value());
        for (start, end) in self.rows(id, first)? {
            if end > first {
                continue;
            }
            let is_last = self.data.range((id, start + 1)..=(id, u64::MAX))?.next().is_none();
            if start < end {
                self.remove_row(id, start)?;
                if is_last && extent.is_none() {
                    self.data.insert((id, end), [].as_slice())?;
                }
            }
        }
        if self.budget == 0 {
            return Ok(false);
        }
        if let Some((start, len)) = extent
            && first > start
        {
            self.data_files.free_front(id, len.min(first - start))?;
        }
        Ok(self.spend_one())
    }

    /// The bounds of the rows of a stream that begin below `below`, within the budget.
    fn rows(&mut self, id: StreamId, below: Position) -> Result<Vec<(Position, Position)>, redb::Error> {
        let mut rows = Vec::new();
        for row in self.data.range((id, 0)..(id, below))?.take(self.budget) {
            let (key, value) = row?;
            let start = key.value().1;
            rows.push((start, start + value.value().len() as u64));
        }
        self.budget -= rows.len();
        Ok(rows)
    }

    fn remove_row(&mut self, id: StreamId, start: Position) -> Result<(), redb::Error> {
        self.freed += self
            .data
            .remove((id, start))?
            .map_or(0, |value| value.value().len() as u64);
        Ok(())
    }

    /// Spends one row of the budget; `false` if there is none left.
    fn spend_one(&mut self) -> bool {
        let available = self.budget > 0;
        self.budget = self.budget.saturating_sub(1);
        available
    }
}
