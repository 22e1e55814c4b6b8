//! What a commit has done: from its answer, or from the row that it has left in the log.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::{
    batch::Batch,
    encoding::{self, unsigned},
    failure::{Failure, describe},
};
use crate::storage::{Changed, Landed, Stored, StreamId, Verdict};

/// A batch after its commit.
pub(super) struct Committed {
    pub(super) verdicts: Vec<Verdict>,
    /// What to tell the other servers: the number of the commit, and the changes.
    pub(super) news: Option<News>,
}

/// A commit that has changed something.
pub(super) struct News {
    pub(super) n: i64,
    pub(super) changes: Vec<Changed>,
    /// By how many streams and bytes the store has grown.
    pub(super) streams: i64,
    pub(super) bytes: i64,
}

/// The streams that a commit has changed, from its row in the log.
pub(super) struct LogRow {
    pub(super) ids: Vec<i64>,
    pub(super) revs: Vec<i64>,
    pub(super) tails: Vec<i64>,
    pub(super) streams: i64,
    pub(super) bytes: i64,
}

impl LogRow {
    /// The news of the commit with this number.
    pub(super) fn news(&self, n: i64) -> News {
        let rows = self.ids.iter().zip(self.revs.iter().zip(&self.tails));
        let changes = rows.map(|(id, (rev, tail))| Changed {
            id: unsigned(*id),
            rev: unsigned(*rev),
            tail: unsigned(*tail),
            gone: *tail < 0,
        });
        News {
            n,
            changes: changes.collect(),
            streams: self.streams,
            bytes: self.bytes,
        }
    }
}

/// Reads the answer of the commit function.
pub(super) fn answered(row: &Row, batch: &Batch, n: i64) -> Result<Committed, Failure> {
    let logged: bool = get(row, 1)?;
    let moved: Vec<i32> = get(row, 2)?;
    let revs: Vec<Option<i64>> = get::<Option<_>>(row, 3)?.unwrap_or_default();
    let tails: Vec<Option<i64>> = get::<Option<_>>(row, 4)?.unwrap_or_default();
    let found = if moved.is_empty() {
        HashMap::new()
    } else {
        present(row)?
    };
    let is_moved = |group: i32| moved.contains(&group) || batch.impossible.contains(&group);
    let column = |values: &[Option<i64>], index: usize| values.get(index).copied().flatten();
    let landed = |index| batch.landed(index, column(&revs, index), column(&tails, index));
    let (mut verdicts, mut changes) = (Vec::with_capacity(batch.groups), Vec::new());
    for group in (0..batch.groups).map(|group| i32::try_from(group).unwrap_or(i32::MAX)) {
        verdicts.push(if is_moved(group) {
            let expected = batch
                .members(group)
                .filter(|index| column(&batch.streams.rev, *index).is_some());
            let ids = expected
                .filter_map(|index| batch.streams.id.get(index).copied())
                .map(unsigned);
            let present = ids.filter_map(|id| match found.get(&id) {
                Some(stored) => stored.clone().map(|stored| (id, Some(stored))),
                None => Some((id, None)),
            });
            Verdict::Moved(present.collect())
        } else {
            let landed: Vec<Landed> = batch.members(group).filter_map(landed).collect();
            changes.extend(batch.members(group).filter_map(|index| changed(batch, index, &landed)));
            Verdict::Committed(landed)
        });
    }
    if !logged {
        return Ok(Committed { verdicts, news: None });
    }
    let news = News {
        n,
        changes,
        streams: get(row, 9)?,
        bytes: get(row, 10)?,
    };
    Ok(Committed {
        verdicts,
        news: Some(news),
    })
}

/// Reads the row that a commit has left in the log. A group without a change in it is judged again.
pub(super) fn recovered(row: &LogRow, batch: &Batch, n: i64) -> Committed {
    let rows = row.ids.iter().zip(row.revs.iter().zip(&row.tails));
    let by_id: HashMap<i64, (i64, i64)> = rows.map(|(id, (rev, tail))| (*id, (*rev, *tail))).collect();
    let streams = &batch.streams;
    let landed = |index: usize| {
        let (rev, tail) = by_id.get(streams.id.get(index)?)?;
        // A removed stream has the tail that it had.
        let before = if *tail < 0 {
            -1 - tail
        } else {
            tail - streams.len.get(index)?
        };
        let is_put = streams.record.get(index)?.is_some();
        batch.landed(index, Some(rev - i64::from(is_put)), Some(before))
    };
    let verdict = |group| {
        let mut members = batch.members(group).peekable();
        let is_there = members.any(|index| streams.id.get(index).is_some_and(|id| by_id.contains_key(id)));
        if is_there {
            Verdict::Committed(batch.members(group).filter_map(landed).collect())
        } else {
            Verdict::Moved(Vec::new())
        }
    };
    let groups = (0..batch.groups).map(|group| i32::try_from(group).unwrap_or(i32::MAX));
    Committed {
        verdicts: groups.map(verdict).collect(),
        news: Some(row.news(n)),
    }
}

/// What a committed group has done to a stream; `None`: nothing.
fn changed(batch: &Batch, index: usize, landed: &[Landed]) -> Option<Changed> {
    let streams = &batch.streams;
    let id = unsigned(*streams.id.get(index)?);
    if *streams.remove.get(index)? {
        return Some(Changed {
            id,
            rev: 0,
            tail: 0,
            gone: true,
        });
    }
    let len = unsigned(*streams.len.get(index)?);
    if len == 0 && streams.record.get(index)?.is_none() {
        return None;
    }
    let landed = landed.iter().find(|landed| landed.id == id)?;
    Some(Changed {
        id,
        rev: landed.rev,
        tail: landed.at + len,
        gone: false,
    })
}

/// The present state of streams whose groups have moved; `None`: it cannot be read, which must not concern the
/// other groups.
fn present(row: &Row) -> Result<HashMap<StreamId, Option<Stored>>, Failure> {
    let ids: Vec<i64> = get::<Option<_>>(row, 5)?.unwrap_or_default();
    let records: Vec<&[u8]> = get::<Option<_>>(row, 6)?.unwrap_or_default();
    let revs: Vec<i64> = get::<Option<_>>(row, 7)?.unwrap_or_default();
    let tails: Vec<i64> = get::<Option<_>>(row, 8)?.unwrap_or_default();
    let rows = ids.into_iter().zip(records).zip(revs.into_iter().zip(tails));
    let streams = rows.map(|((id, record), (rev, tail))| {
        let stored = encoding::stored(&format!("stream {id}"), record, rev, tail);
        (unsigned(id), stored.ok())
    });
    Ok(streams.collect())
}

pub(super) fn get<'r, T: tokio_postgres::types::FromSql<'r>>(row: &'r Row, column: usize) -> Result<T, Failure> {
    row.try_get(column)
        .map_err(|error| Failure::Malformed(describe(&error)))
}
