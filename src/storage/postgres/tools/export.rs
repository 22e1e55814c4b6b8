//! Copies of a database, as of one moment.

use std::{collections::HashMap, ops::Range};

use bytes::Bytes;
use tokio_postgres::types::Type;

use super::connection::Connection;
use crate::storage::{
    Position, StorageError, StreamId, WriterState,
    postgres::{
        encoding::{decode_writer, signed, stored, stream_name, unsigned},
        outcome::get,
        reads::join,
    },
    tools::transfer::{Entry, Source},
};

/// A copy of a database under way. Commits of servers fail until it ends, so that none is left out.
pub(crate) struct Export(Connection);

impl Export {
    pub(super) fn begin(connection: Connection) -> Result<Self, StorageError> {
        connection.begin("isolation level repeatable read")?;
        // Before the first query, which determines the moment.
        connection.lock(&["heads", "streams", "ids"], "share")?;
        Ok(Self(connection))
    }

    fn writers(&self, ids: &[i64]) -> Result<HashMap<StreamId, Vec<(String, WriterState)>>, StorageError> {
        const WRITERS: &str =
            "select id, key, progress, used_at from durable_streams.writers where id = any($1) order by id, key";
        let mut writers: HashMap<StreamId, Vec<_>> = HashMap::new();
        for row in &self.0.rows(WRITERS, &[(&ids, Type::INT8_ARRAY)])? {
            let writer = decode_writer(get(row, 1)?, get(row, 2)?, get(row, 3)?)?;
            writers.entry(unsigned(get(row, 0)?)).or_default().push(writer);
        }
        Ok(writers)
    }
}

impl Source for Export {
    fn page(&self, after: Option<&str>, limit: usize) -> Result<Vec<Entry>, StorageError> {
        const STREAMS: &str = "select t.id, t.name, t.record, h.rev, h.tail from durable_streams.streams t \
            left join durable_streams.heads h on h.id = t.id where t.key > $1 order by t.key limit $2";
        let (after, limit) = (after.unwrap_or_default(), signed(limit as u64));
        let rows = self.0.rows(STREAMS, &[(&after, Type::TEXT), (&limit, Type::INT8)])?;
        let ids = rows.iter().map(|row| Ok(get(row, 0)?));
        let ids = ids.collect::<Result<Vec<i64>, StorageError>>()?;
        let mut writers = self.writers(&ids)?;
        let entries = rows.iter().map(|row| {
            let name: &str = get(row, 1)?;
            let (rev, tail): (Option<i64>, Option<i64>) = (get(row, 3)?, get(row, 4)?);
            let (Some(rev), Some(tail)) = (rev, tail) else {
                return Err(StorageError::Corrupt(format!("`{name}` has no head")));
            };
            let stored = stored(name, get(row, 2)?, rev, tail)?;
            let writers = writers.remove(&stored.record.id).unwrap_or_default();
            let name = stream_name(name)?;
            Ok(Entry { name, stored, writers })
        });
        entries.collect()
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        const READ: &str = "select start, data from durable_streams.read_v1(array[$1], array[$2], array[$3])";
        let (id, from, to) = (signed(id), signed(range.start), signed(range.end));
        let parameters = [(&id as _, Type::INT8), (&from as _, Type::INT8), (&to as _, Type::INT8)];
        let rows = self.0.rows(READ, &parameters)?;
        let pieces = rows.iter().map(|row| Ok((unsigned(get(row, 0)?), get(row, 1)?)));
        let pieces = pieces.collect::<Result<Vec<(u64, &[u8])>, StorageError>>()?;
        // The joined bytes begin where the first row does.
        if pieces.first().is_some_and(|(start, _)| *start != range.start) {
            return Ok(Bytes::new());
        }
        Ok(join(&pieces))
    }

    fn next_id(&self) -> Result<StreamId, StorageError> {
        let rows = self.0.rows("select next from durable_streams.ids", &[])?;
        let row = rows.first();
        let row = row.ok_or_else(|| StorageError::Corrupt("the table durable_streams.ids is empty".to_owned()))?;
        Ok(unsigned(get(row, 0)?))
    }
}
