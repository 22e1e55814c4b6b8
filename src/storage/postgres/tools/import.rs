//! Copies to a database. A copy is one transaction: nobody sees a part of it, and nothing is left of one
//! that was not completed.

use bytes::Bytes;
use tokio_postgres::types::Type;

use super::connection::Connection;
use crate::{
    protocol::StreamName,
    storage::{
        Change, Position, StorageError, StreamId, StreamRecord, WriterState,
        postgres::{
            encoding::{encode_progress, encode_record, signed},
            failure::Failure,
            outcome::get,
        },
        tools::transfer::Sink,
    },
};

/// The size of rows of bytes.
const MAX_ROW: usize = 64 * 1024;
/// Rows are sent when they have this many bytes,
const MAX_PENDING_BYTES: usize = 4 * 1024 * 1024;
/// or if there are this many of them.
const MAX_PENDING_ROWS: usize = 2_000;

/// A copy under way.
pub(crate) struct Import {
    connection: Connection,
    rows: Rows,
    /// The stream that is being written.
    current: Option<Current>,
    streams: u64,
    bytes: u64,
}

struct Current {
    name: StreamName,
    record: StreamRecord,
    tail: Position,
}

/// Rows that were not sent yet, column by column.
#[derive(Default)]
struct Rows {
    bytes: usize,
    streams: Streams,
    chunks: Chunks,
    writers: Writers,
}

#[derive(Default)]
struct Streams {
    id: Vec<i64>,
    key: Vec<String>,
    name: Vec<String>,
    record: Vec<Vec<u8>>,
    tail: Vec<i64>,
    first: Vec<i64>,
    due: Vec<Option<i64>>,
}

#[derive(Default)]
struct Chunks {
    id: Vec<i64>,
    start: Vec<i64>,
    stop: Vec<i64>,
    data: Vec<Bytes>,
}

#[derive(Default)]
struct Writers {
    id: Vec<i64>,
    key: Vec<Vec<u8>>,
    progress: Vec<Vec<u8>>,
    used: Vec<i64>,
}

impl Import {
    pub(super) fn begin(connection: Connection) -> Result<Self, StorageError> {
        connection.begin("isolation level read committed")?;
        // A server that starts meanwhile waits until it can read the version of the format.
        connection.lock(&["format"], "access exclusive")?;
        connection.lock(&["streams", "heads", "chunks", "writers", "ids", "totals"], "exclusive")?;
        let rows = connection.rows("select count(*) from durable_streams.streams", &[])?;
        let streams: i64 = rows.first().map_or(Ok(0), |row| get(row, 0))?;
        if streams > 0 {
            return Err(StorageError::Unusable(format!(
                "the database has {streams} streams: a copy is made to an empty one. Name another database, or delete \
                 everything with `drop schema durable_streams cascade`"
            )));
        }
        // Rows of deleted streams may remain.
        for table in [
            "heads", "chunks", "writers", "garbage", "merges", "removed", "log", "servers",
        ] {
            connection.run(&format!("delete from durable_streams.{table}"))?;
        }
        Ok(Self {
            connection,
            rows: Rows::default(),
            current: None,
            streams: 0,
            bytes: 0,
        })
    }

    fn apply(&mut self, change: Change) -> Result<(), StorageError> {
        match change {
            Change::Put { name, record } => match &mut self.current {
                Some(current) if current.record.id == record.id => current.record = record,
                _ => {
                    self.close()?;
                    let tail = record.first();
                    self.current = Some(Current { name, record, tail });
                }
            },
            Change::Append { id, at, data } => {
                let current = self.current(id)?;
                if current.tail != at {
                    return Err(misplaced(id));
                }
                current.tail += data.iter().map(|piece| piece.len() as u64).sum::<u64>();
                self.rows.append(id, at, data);
            }
            Change::Writer { id, key, state } => {
                self.current(id)?;
                if let Some(state) = state {
                    self.rows.writer(id, &key, &state)?;
                }
            }
            Change::Remove { id, .. } => return Err(misplaced(id)),
        }
        Ok(())
    }

    fn current(&mut self, id: StreamId) -> Result<&mut Current, StorageError> {
        let current = self.current.as_mut().filter(|current| current.record.id == id);
        current.ok_or_else(|| misplaced(id))
    }

    /// Completes the stream that is being written.
    fn close(&mut self) -> Result<(), StorageError> {
        let Some(Current { name, record, tail }) = self.current.take() else {
            return Ok(());
        };
        self.streams += 1;
        self.bytes += tail.saturating_sub(record.first());
        let streams = &mut self.rows.streams;
        let encoded = encode_record(&record)?;
        self.rows.bytes += encoded.len() + name.key().len() + name.as_str().len();
        streams.id.push(signed(record.id));
        streams.key.push(name.key().to_owned());
        streams.name.push(name.as_str().to_owned());
        streams.record.push(encoded);
        streams.tail.push(signed(tail));
        streams.first.push(signed(record.first()));
        streams.due.push(record.due_at.map(signed));
        Ok(())
    }

    fn send(&mut self) -> Result<(), StorageError> {
        const STREAMS: &str = "with created as (select * from unnest($1, $2, $3, $4, $5, $6, $7) \
                n(id, key, name, record, tail, first, due)), \
            heads as (insert into durable_streams.heads (id, rev, tail, first, due_at) \
                select id, 1, tail, first, due from created) \
            insert into durable_streams.streams (id, key, name, record) select id, key, name, record from created";
        const CHUNKS: &str = "insert into durable_streams.chunks (id, start, stop, data) \
            select * from unnest($1, $2, $3, $4)";
        const WRITERS: &str = "insert into durable_streams.writers (id, key, progress, used_at) \
            select * from unnest($1, $2, $3, $4)";
        let Rows {
            streams,
            chunks,
            writers,
            ..
        } = std::mem::take(&mut self.rows);
        if !streams.id.is_empty() {
            let parameters = [
                (&streams.id as _, Type::INT8_ARRAY),
                (&streams.key as _, Type::TEXT_ARRAY),
                (&streams.name as _, Type::TEXT_ARRAY),
                (&streams.record as _, Type::BYTEA_ARRAY),
                (&streams.tail as _, Type::INT8_ARRAY),
                (&streams.first as _, Type::INT8_ARRAY),
                (&streams.due as _, Type::INT8_ARRAY),
            ];
            self.connection.rows(STREAMS, &parameters)?;
        }
        if !chunks.id.is_empty() {
            let data: Vec<&[u8]> = chunks.data.iter().map(Bytes::as_ref).collect();
            let parameters = [
                (&chunks.id as _, Type::INT8_ARRAY),
                (&chunks.start as _, Type::INT8_ARRAY),
                (&chunks.stop as _, Type::INT8_ARRAY),
                (&data as _, Type::BYTEA_ARRAY),
            ];
            self.connection.rows(CHUNKS, &parameters)?;
        }
        if !writers.id.is_empty() {
            let parameters = [
                (&writers.id as _, Type::INT8_ARRAY),
                (&writers.key as _, Type::BYTEA_ARRAY),
                (&writers.progress as _, Type::BYTEA_ARRAY),
                (&writers.used as _, Type::INT8_ARRAY),
            ];
            self.connection.rows(WRITERS, &parameters)?;
        }
        Ok(())
    }
}

impl Sink for Import {
    fn write(&mut self, changes: Vec<Change>) -> Result<(), StorageError> {
        for change in changes {
            self.apply(change)?;
            if self.rows.are_many() {
                self.send()?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, next_id: StreamId) -> Result<(), StorageError> {
        const TOTALS: &str = "update durable_streams.totals set streams = $1, bytes = $2";
        const IDS: &str = "update durable_streams.ids set next = greatest(next, $1)";
        self.close()?;
        self.send()?;
        let (streams, bytes, next_id) = (signed(self.streams), signed(self.bytes), signed(next_id));
        let totals = [(&streams as _, Type::INT8), (&bytes as _, Type::INT8)];
        self.connection.rows(TOTALS, &totals)?;
        self.connection.rows(IDS, &[(&next_id, Type::INT8)])?;
        self.connection.run("commit").map_err(|failure| match failure {
            Failure::Lost(reason) => StorageError::Unusable(format!(
                "the answer to the commit was lost ({reason}), so the copy may be complete: `storage check` tells"
            )),
            failure => failure.into(),
        })
    }
}

impl Rows {
    fn append(&mut self, id: StreamId, mut at: Position, data: Vec<Bytes>) {
        for mut rest in data {
            while !rest.is_empty() {
                let row = rest.split_to(rest.len().min(MAX_ROW));
                let stop = at + row.len() as u64;
                self.bytes += row.len();
                self.chunks.id.push(signed(id));
                self.chunks.start.push(signed(at));
                self.chunks.stop.push(signed(stop));
                self.chunks.data.push(row);
                at = stop;
            }
        }
    }

    fn writer(&mut self, id: StreamId, key: &str, state: &WriterState) -> Result<(), StorageError> {
        let progress = encode_progress(&state.progress)?;
        self.bytes += key.len() + progress.len();
        self.writers.id.push(signed(id));
        self.writers.key.push(key.as_bytes().to_vec());
        self.writers.progress.push(progress);
        self.writers.used.push(signed(state.used_at));
        Ok(())
    }

    fn are_many(&self) -> bool {
        let rows = self.streams.id.len() + self.chunks.id.len() + self.writers.id.len();
        self.bytes >= MAX_PENDING_BYTES || rows >= MAX_PENDING_ROWS
    }
}

fn misplaced(id: StreamId) -> StorageError {
    StorageError::Corrupt(format!("the changes of stream {id} do not follow each other"))
}
