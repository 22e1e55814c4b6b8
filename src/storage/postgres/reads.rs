//! Lookups of streams and of their bytes.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use tokio_postgres::types::Type;

use super::{
    Core,
    connections::Purpose,
    encoding::{signed, stored, unsigned},
    outcome::get,
};
use crate::storage::{Lookup, Position, StorageError, StreamId};

impl Core {
    pub(super) async fn streams(&self, purpose: Purpose, keys: &[&str]) -> Result<Vec<Lookup>, StorageError> {
        const STREAMS: &str = "select now, ord, name, record, rev, tail from durable_streams.streams_v1($1)";
        let sent = self.clock.local().instant();
        let parameters = [(&keys as _, Type::TEXT_ARRAY)];
        let rows = self.connections.read_for(purpose, STREAMS, &parameters).await?;
        let received = self.clock.local().instant();
        let mut found: Vec<Lookup> = keys.iter().map(|_| Ok(None)).collect();
        for row in &rows {
            let place = usize::try_from(get::<i64>(row, 1)? - 1).ok();
            if let Some(found) = place.and_then(|place| found.get_mut(place)) {
                *found = stored(get(row, 2)?, get(row, 3)?, get(row, 4)?, get(row, 5)?).map(Some);
            }
        }
        if let Some(row) = rows.first() {
            self.clock.note(get(row, 0)?, sent, received);
        }
        Ok(found)
    }

    pub(super) async fn ranges(&self, ranges: &[(StreamId, Range<Position>)]) -> Result<Vec<Bytes>, StorageError> {
        const READ: &str = "select ord, start, data from durable_streams.read_v1($1, $2, $3)";
        let ids: Vec<i64> = ranges.iter().map(|(id, _)| signed(*id)).collect();
        let from: Vec<i64> = ranges.iter().map(|(_, range)| signed(range.start)).collect();
        let to: Vec<i64> = ranges.iter().map(|(_, range)| signed(range.end)).collect();
        let parameters = [
            (&ids as _, Type::INT8_ARRAY),
            (&from as _, Type::INT8_ARRAY),
            (&to as _, Type::INT8_ARRAY),
        ];
        let rows = self.connections.read_for(Purpose::Bytes, READ, &parameters).await?;
        let mut pieces: Vec<Vec<(u64, &[u8])>> = vec![Vec::new(); ranges.len()];
        for row in &rows {
            let place = usize::try_from(get::<i64>(row, 0)? - 1).ok();
            if let Some(pieces) = place.and_then(|place| pieces.get_mut(place)) {
                pieces.push((unsigned(get(row, 1)?), get(row, 2)?));
            }
        }
        Ok(pieces.iter().map(|pieces| join(pieces)).collect())
    }
}

/// Joins rows as far as they follow each other.
pub(super) fn join(pieces: &[(u64, &[u8])]) -> Bytes {
    let len = pieces.iter().map(|(_, data)| data.len()).sum();
    let mut joined = BytesMut::with_capacity(len);
    let first = pieces.first().map_or(0, |(start, _)| *start);
    for (start, data) in pieces {
        if *start != first + joined.len() as u64 {
            break;
        }
        joined.extend_from_slice(data);
    }
    joined.freeze()
}
