//! Whether the rows of a database agree, as of one moment.

use std::collections::HashMap;

use tokio_postgres::{Row, types::Type};

use super::{
    connection::Connection,
    findings::{Findings, LOST},
};
use crate::storage::{
    Position, StorageError, StoreReport, StreamId, StreamRecord,
    postgres::{
        encoding::{decode_record, decode_writer, signed, unsigned},
        outcome::get,
    },
};

/// The streams that are checked at a time.
const PAGE: i64 = 256;
/// The rows of no stream that are listed.
const MAX_STRAYS: i64 = 100;

/// Checks everything.
pub(super) fn check(connection: &Connection) -> Result<StoreReport, StorageError> {
    connection.begin("isolation level repeatable read read only")?;
    let mut check = Check {
        connection,
        next_id: ids(connection)?,
        findings: Findings::default(),
        forks: HashMap::new(),
        streams: 0,
        bytes: 0,
    };
    let mut after = String::new();
    while let Some(last) = check.page(&after)? {
        after = last;
    }
    check.forks();
    check.strays()?;
    check.totals()?;
    Ok(check.findings.report(check.streams, check.bytes))
}

/// The lowest id that is not reserved.
fn ids(connection: &Connection) -> Result<StreamId, StorageError> {
    let rows = connection.rows("select max(next) from durable_streams.ids", &[])?;
    let next: Option<i64> = rows.first().map_or(Ok(None), |row| get(row, 0))?;
    Ok(next.map_or(0, unsigned))
}

struct Check<'c> {
    connection: &'c Connection,
    next_id: StreamId,
    findings: Findings,
    /// Streams that are forks or have some.
    forks: HashMap<StreamId, Forks>,
    streams: u64,
    bytes: u64,
}

#[derive(Default)]
struct Forks {
    /// The stream's name; `None`: it was not found.
    name: Option<String>,
    /// The forks that its record counts.
    counted: u32,
    /// The forks that were found, and the name of one of them.
    found: u32,
    one: String,
}

/// A stream as its rows have it.
struct Stream {
    id: i64,
    name: String,
    head: Option<Head>,
    record: Option<StreamRecord>,
}

#[derive(Clone, Copy)]
struct Head {
    tail: i64,
    first: i64,
    due_at: Option<i64>,
}

/// The rows of a stream's bytes.
struct Extent {
    start: i64,
    stop: i64,
    /// The first gap: where the rows before it end, and where those after it begin.
    gap: Option<(i64, i64)>,
    /// Rows whose bytes are fewer or more than their positions.
    torn: i64,
}

impl Check<'_> {
    /// Checks the streams after a key. Returns the key of the last one.
    fn page(&mut self, after: &str) -> Result<Option<String>, StorageError> {
        const STREAMS: &str = "select t.id, t.key, t.name, t.record, h.tail, h.first, h.due_at \
            from durable_streams.streams t left join durable_streams.heads h on h.id = t.id \
            where t.key > $1 order by t.key limit $2";
        let rows = self
            .connection
            .rows(STREAMS, &[(&after, Type::TEXT), (&PAGE, Type::INT8)])?;
        let mut streams = Vec::with_capacity(rows.len());
        for row in &rows {
            streams.push(self.stream(row)?);
        }
        let ids: Vec<i64> = streams.iter().map(|stream| stream.id).collect();
        let extents = self.extents(&ids)?;
        for stream in &streams {
            self.bytes_of(stream, extents.get(&stream.id));
        }
        self.lineage(&streams)?;
        self.writers(&streams, &ids)?;
        let last = rows.last().map(|row| get::<&str>(row, 1)).transpose()?;
        Ok(last.map(str::to_owned))
    }

    /// Checks a stream's own rows.
    fn stream(&mut self, row: &Row) -> Result<Stream, StorageError> {
        let (id, key, name): (i64, &str, String) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
        let head = match (get(row, 4)?, get(row, 5)?) {
            (Some(tail), Some(first)) => Some(Head {
                tail,
                first,
                due_at: get(row, 6)?,
            }),
            _ => None,
        };
        self.streams += 1;
        let findings = &mut self.findings;
        if head.is_none() {
            findings.stream(&name, "has no row in heads, so nobody can read it", LOST);
        }
        if unsigned(id) >= self.next_id {
            let remedy = format_args!(
                "update durable_streams.ids set next = greatest(next, {})",
                id.saturating_add(1)
            );
            findings.stream(&name, format_args!("has the id {id}, which was never reserved"), remedy);
        }
        let canonical = crate::protocol::StreamName::stored(&name);
        if canonical.as_ref().map(|name| name.key()) != Ok(key) {
            findings.stream(&name, format_args!("is kept under the key `{key}`"), LOST);
        }
        let record = match decode_record("it", get(row, 3)?) {
            Ok(record) if signed(record.id) == id => Some(record),
            Ok(record) => {
                let problem = format_args!("has the id {id}, but its record has the id {}", record.id);
                findings.stream(&name, problem, LOST);
                None
            }
            Err(error) => {
                let problem = format_args!("has a record that cannot be read ({error})");
                findings.stream(&name, problem, LOST);
                None
            }
        };
        if let (Some(record), Some(head)) = (&record, head) {
            self.head(&name, record, head);
        }
        if let Some(record) = &record {
            self.fork(&name, record);
        }
        Ok(Stream { id, name, head, record })
    }

    /// Checks what a head repeats of its record.
    fn head(&mut self, name: &str, record: &StreamRecord, head: Head) {
        let (first, due_at, id) = (signed(record.first()), record.due_at.map(signed), record.id);
        if head.first != first {
            let problem = format_args!("begins at {first}, but at {} in heads", head.first);
            let remedy = format_args!("update durable_streams.heads set first = {first} where id = {id}");
            self.findings.stream(name, problem, remedy);
        }
        if head.due_at != due_at {
            let text = |at: Option<i64>| at.map_or("null".to_owned(), |at| at.to_string());
            let problem = format_args!("is due at {}, but at {} in heads", text(due_at), text(head.due_at));
            let remedy = format!(
                "update durable_streams.heads set due_at = {} where id = {id}",
                text(due_at)
            );
            self.findings.stream(name, problem, remedy);
        }
    }

    fn fork(&mut self, name: &str, record: &StreamRecord) {
        if record.forks > 0 {
            let forks = self.forks.entry(record.id).or_default();
            (forks.name, forks.counted) = (Some(name.to_owned()), record.forks);
        }
        if let Some(fork) = &record.fork {
            let source = self.forks.entry(fork.source_id).or_default();
            source.found += 1;
            name.clone_into(&mut source.one);
        }
    }

    fn extents(&self, ids: &[i64]) -> Result<HashMap<i64, Extent>, StorageError> {
        const EXTENTS: &str = "select c.id, min(c.start), max(c.stop), \
              (array_agg(c.before order by c.start) filter (where c.before <> c.start))[1], \
              (array_agg(c.start order by c.start) filter (where c.before <> c.start))[1], \
              count(*) filter (where c.len <> c.stop - c.start) \
            from (select k.id, k.start, k.stop, octet_length(k.data) as len, \
                lag(k.stop) over (partition by k.id order by k.start) as before \
              from durable_streams.chunks k where k.id = any($1)) c group by c.id";
        let rows = self.connection.rows(EXTENTS, &[(&ids, Type::INT8_ARRAY)])?;
        let extents = rows.iter().map(|row| {
            let gap: (Option<i64>, Option<i64>) = (get(row, 3)?, get(row, 4)?);
            let extent = Extent {
                start: get(row, 1)?,
                stop: get(row, 2)?,
                gap: gap.0.zip(gap.1),
                torn: get(row, 5)?,
            };
            Ok((get(row, 0)?, extent))
        });
        extents.collect()
    }

    /// Checks that the rows of a stream's bytes are contiguous, from its first kept position to its tail.
    fn bytes_of(&mut self, stream: &Stream, extent: Option<&Extent>) {
        let Some(head) = stream.head else { return };
        let (name, findings) = (&stream.name, &mut self.findings);
        self.bytes += unsigned(head.tail.saturating_sub(head.first));
        if head.tail < head.first {
            let problem = format_args!("ends at {}, before its first position {}", head.tail, head.first);
            findings.stream(name, problem, LOST);
        }
        let Some(extent) = extent else {
            if head.tail > head.first {
                let problem = format_args!("has lost its bytes from {} to {}", head.first, head.tail);
                findings.stream(name, problem, LOST);
            }
            return;
        };
        if extent.start > head.first {
            let problem = format_args!("has lost its bytes from {} to {}", head.first, extent.start);
            findings.stream(name, problem, LOST);
        }
        match extent.gap {
            Some((before, after)) if before < after => {
                findings.stream(name, format_args!("has lost its bytes from {before} to {after}"), LOST);
            }
            Some((before, after)) => {
                let problem = format_args!("has bytes from {after} to {before} twice");
                findings.stream(name, problem, LOST);
            }
            None => {}
        }
        if extent.torn > 0 {
            let problem = format_args!(
                "has {} rows whose bytes are not as long as their positions",
                extent.torn
            );
            findings.stream(name, problem, LOST);
        }
        if extent.stop < head.tail {
            let problem = format_args!("has lost its bytes from {} to {}", extent.stop, head.tail);
            findings.stream(name, problem, LOST);
        }
        if extent.stop > head.tail {
            let (id, tail) = (stream.id, head.tail);
            let problem = format_args!("has bytes after its tail {tail}, which nobody can read");
            let remedy = format_args!("delete from durable_streams.chunks where id = {id} and start >= {tail}");
            findings.stream(name, problem, remedy);
        }
    }

    /// Checks that forks find the bytes that they inherit.
    fn lineage(&mut self, streams: &[Stream]) -> Result<(), StorageError> {
        const BROKEN: &str = "select i.ord, i.id, i.stop \
            from unnest($1, $2, $3) with ordinality i(id, start, stop, ord) \
            left join durable_streams.heads h on h.id = i.id \
            where i.stop > 0 and (h.tail is null or h.tail < i.stop) or i.start < i.stop and h.first > i.start \
            order by i.ord";
        let inherited = streams
            .iter()
            .filter_map(|stream| Some((&stream.name, stream.record.as_ref()?)));
        let inherited = inherited.flat_map(|(name, record)| {
            let lineage = record.fork.as_deref().map_or(&[][..], |fork| &fork.lineage);
            let mut end = 0;
            lineage.iter().map(move |inherited| {
                let start = record.earliest().max(std::mem::replace(&mut end, inherited.end));
                (name, inherited, start)
            })
        });
        let inherited: Vec<_> = inherited.collect();
        if inherited.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = inherited.iter().map(|(_, inherited, _)| signed(inherited.id)).collect();
        let starts: Vec<i64> = inherited.iter().map(|(.., start)| signed(*start)).collect();
        let ends: Vec<i64> = inherited
            .iter()
            .map(|(_, inherited, _)| signed(inherited.end))
            .collect();
        let parameters = [
            (&ids as _, Type::INT8_ARRAY),
            (&starts as _, Type::INT8_ARRAY),
            (&ends as _, Type::INT8_ARRAY),
        ];
        for row in &self.connection.rows(BROKEN, &parameters)? {
            let (place, id, end): (i64, i64, i64) = (get(row, 0)?, get(row, 1)?, get(row, 2)?);
            let place = usize::try_from(place - 1).ok();
            if let Some((name, ..)) = place.and_then(|place| inherited.get(place)) {
                let problem = format_args!("inherits the bytes up to {end} from stream {id}, which does not have them");
                self.findings.stream(name, problem, LOST);
            }
        }
        Ok(())
    }

    fn writers(&mut self, streams: &[Stream], ids: &[i64]) -> Result<(), StorageError> {
        const WRITERS: &str = "select id, key, progress, used_at from durable_streams.writers where id = any($1)";
        for row in &self.connection.rows(WRITERS, &[(&ids, Type::INT8_ARRAY)])? {
            let (id, key): (i64, &[u8]) = (get(row, 0)?, get(row, 1)?);
            let Err(error) = decode_writer(key, get(row, 2)?, get(row, 3)?) else {
                continue;
            };
            let name = streams.iter().find(|stream| stream.id == id);
            let name = name.map_or("", |stream| &stream.name);
            let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let remedy = format_args!(
                "delete from durable_streams.writers where id = {id} and key = '\\x{key}', after which this producer \
                 begins anew"
            );
            let problem = format_args!("has a producer whose state cannot be read ({error})");
            self.findings.stream(name, problem, remedy);
        }
        Ok(())
    }

    /// Checks that each fork has its source, which counts it.
    fn forks(&mut self) {
        let mut forks: Vec<_> = std::mem::take(&mut self.forks).into_iter().collect();
        forks.sort_unstable_by_key(|(id, _)| *id);
        for (id, forks) in forks {
            match forks.name {
                None => self.findings.stream(
                    &forks.one,
                    format_args!("is a fork of stream {id}, which does not exist or counts no forks"),
                    LOST,
                ),
                Some(name) if forks.counted > forks.found => self.findings.stream(
                    &name,
                    format_args!("counts {} forks, but has {}", forks.counted, forks.found),
                    "its bytes are kept after the last of them is deleted, which does no other harm",
                ),
                Some(name) if forks.counted < forks.found => self.findings.stream(
                    &name,
                    format_args!("counts {} forks, but has {}", forks.counted, forks.found),
                    "do not delete it before its forks, or they lose what they inherit from it",
                ),
                Some(_) => {}
            }
        }
    }

    /// Finds rows that belong to no stream, and are not about to be deleted.
    fn strays(&mut self) -> Result<(), StorageError> {
        const OF_NO_STREAM: &str = "not exists (select from durable_streams.streams t where t.id = x.id)";
        const NOT_GARBAGE: &str = "not exists (select from durable_streams.garbage g where g.id = x.id)";
        let heads = format!("select x.id from durable_streams.heads x where {OF_NO_STREAM} order by x.id limit $1");
        for row in &self.connection.rows(&heads, &[(&MAX_STRAYS, Type::INT8)])? {
            let id: i64 = get(row, 0)?;
            self.findings.add(format_args!(
                "the head of stream {id} belongs to no stream: delete from durable_streams.heads where id = {id}"
            ));
        }
        for (table, what) in [("chunks", "bytes"), ("writers", "producers")] {
            let strays = format!(
                "select x.id, count(*) from durable_streams.{table} x where {OF_NO_STREAM} and {NOT_GARBAGE} \
                 group by x.id order by x.id limit $1"
            );
            for row in &self.connection.rows(&strays, &[(&MAX_STRAYS, Type::INT8)])? {
                let (id, rows): (i64, i64) = (get(row, 0)?, get(row, 1)?);
                self.findings.add(format_args!(
                    "{rows} rows with {what} of stream {id} belong to no stream: insert into durable_streams.garbage \
                     values ({id}, {}) has the servers delete them",
                    Position::MAX >> 1
                ));
            }
        }
        Ok(())
    }

    /// Checks the sums by which the servers know the contents of the store.
    fn totals(&mut self) -> Result<(), StorageError> {
        const COUNTED: &str = "select t.streams + l.streams, t.bytes + l.bytes from durable_streams.totals t, (\
            select coalesce(sum(k.streams), 0)::bigint as streams, coalesce(sum(k.bytes), 0)::bigint as bytes \
            from durable_streams.log k) l";
        // With other damage, this would say the same again.
        if !self.findings.is_empty() {
            return Ok(());
        }
        let (streams, bytes) = (signed(self.streams), signed(self.bytes));
        let rows = self.connection.rows(COUNTED, &[])?;
        let [row] = &rows[..] else {
            self.findings.add(format_args!(
                "the table durable_streams.totals has {} rows instead of one: restore a backup",
                rows.len()
            ));
            return Ok(());
        };
        let counted: (i64, i64) = (get(row, 0)?, get(row, 1)?);
        if counted != (streams, bytes) {
            self.findings.add(format_args!(
                "the database counts {} streams with {} bytes, but has {streams} with {bytes}: update \
                 durable_streams.totals set streams = streams + {}, bytes = bytes + {}",
                counted.0,
                counted.1,
                streams - counted.0,
                bytes - counted.1,
            ));
        }
        Ok(())
    }
}
