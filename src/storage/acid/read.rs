//! Reading, each call in a transaction of its own.

use std::ops::{Bound, Range};

use bytes::{Bytes, BytesMut};
use redb::{Database, ReadableDatabase, ReadableTable};

use super::schema::{DATA, DUE, NAMES, PRODUCERS, decode_record};
use crate::{
    clock::Millis,
    protocol::StreamName,
    storage::{Position, ProducerState, Stored, StreamId},
};

/// Where the stream's last row ends; `None` when it has no row: there is no such stream.
pub(super) fn tail(
    data: &impl ReadableTable<(u64, u64), &'static [u8]>,
    id: StreamId,
) -> Result<Option<Position>, redb::Error> {
    let last = data.range((id, 0)..=(id, u64::MAX))?.next_back().transpose()?;
    Ok(last.map(|(key, value)| key.value().1 + value.value().len() as u64))
}

fn stored(
    name: &str,
    record: &[u8],
    data: &impl ReadableTable<(u64, u64), &'static [u8]>,
) -> Result<Stored, redb::Error> {
    let record = decode_record(name, record)?;
    let tail = tail(data, record.id)?.unwrap_or(record.start);
    Ok(Stored { record, tail })
}

pub(super) fn get(db: &Database, name: &StreamName) -> Result<Option<Stored>, redb::Error> {
    let txn = db.begin_read()?;
    let names = txn.open_table(NAMES)?;
    let Some(record) = names.get(name.as_str())? else {
        return Ok(None);
    };
    stored(name.as_str(), record.value(), &txn.open_table(DATA)?).map(Some)
}

pub(super) fn producer(db: &Database, id: StreamId, producer: &str) -> Result<Option<ProducerState>, redb::Error> {
    let txn = db.begin_read()?;
    let producers = txn.open_table(PRODUCERS)?;
    Ok(producers.get((id, producer))?.map(|state| {
        let (epoch, seq) = state.value();
        ProducerState { epoch, seq }
    }))
}

pub(super) fn list(
    db: &Database,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(StreamName, Stored)>, redb::Error> {
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let txn = db.begin_read()?;
    let names = txn.open_table(NAMES)?;
    let data = txn.open_table(DATA)?;
    let mut found = Vec::new();
    for row in names.range::<&str>((from, Bound::Unbounded))?.take(limit) {
        let (name, record) = row?;
        let name = name.value();
        if !name.starts_with(prefix) {
            break;
        }
        found.push((parse_name(name)?, stored(name, record.value(), &data)?));
    }
    Ok(found)
}

pub(super) fn due(db: &Database, now: Millis, limit: usize) -> Result<Vec<StreamName>, redb::Error> {
    let txn = db.begin_read()?;
    let due = txn.open_table(DUE)?;
    let mut names = Vec::new();
    for row in due.range(..(now.saturating_add(1), ""))?.take(limit) {
        names.push(parse_name(row?.0.value().1)?);
    }
    Ok(names)
}

pub(super) fn read(db: &Database, id: StreamId, range: &Range<Position>) -> Result<Bytes, redb::Error> {
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    let txn = db.begin_read()?;
    let data = txn.open_table(DATA)?;
    // The row that holds the range's first byte may begin before it.
    let before = data.range((id, 0)..=(id, range.start))?.next_back().transpose()?;
    let begin = before.map_or(range.start, |(key, _)| key.value().1);
    let mut rows = data.range((id, begin)..(id, range.end))?;
    let Some(last) = rows.next_back().transpose()? else {
        return Ok(Bytes::new());
    };
    let end = range.end.min(last.0.value().1 + last.1.value().len() as u64);
    let len = usize::try_from(end.saturating_sub(range.start.max(begin))).unwrap_or(0);
    let mut out = BytesMut::with_capacity(len);
    for row in rows.chain(std::iter::once(Ok(last))) {
        let (key, value) = row?;
        let (start, bytes) = (key.value().1, value.value());
        let cut = |position: Position| {
            usize::try_from(position.saturating_sub(start)).map_or(bytes.len(), |at| at.min(bytes.len()))
        };
        out.extend_from_slice(bytes.get(cut(range.start)..cut(range.end)).unwrap_or_default());
    }
    Ok(out.freeze())
}

fn parse_name(name: &str) -> Result<StreamName, redb::Error> {
    StreamName::new(name).map_err(|error| redb::Error::Corrupted(format!("the name `{name}`: {error}")))
}
