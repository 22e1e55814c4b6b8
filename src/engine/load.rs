//! Reading chunks from the store: whole messages, whole appends, or, of text that an earlier
//! version stored, whole characters.

use bytes::Bytes;

use super::{
    chunk::{Chunk, unframe},
    errors::ReadError,
    stream::{Gone, Stream, join},
    text,
};
use crate::{
    protocol::{
        BadInput, Framing, Kind,
        frame::{self, Header},
        json,
    },
    storage::{Position, Storage, StorageError, StreamRecord},
};

/// An append of at least this size is a chunk of its own, which shares the store's memory where
/// the store is memory.
const LARGE: u64 = 256 * 1024;

/// Text whose every append ends inside of a character is read up to this size for one that does
/// not.
const MAX_TORN: u64 = 32 * 1024 * 1024;

/// A read of one stream.
struct Load<'s> {
    storage: &'s dyn Storage,
    stream: &'s Stream,
    start: Position,
    tail: Position,
}

/// Content from `start` to `wanted`, or to the last place before where it can be cut, or to the
/// first after.
pub(super) fn load(
    storage: &dyn Storage,
    stream: &Stream,
    start: Position,
    wanted: Position,
    tail: Position,
) -> Result<Chunk, ReadError> {
    let load = Load {
        storage,
        stream,
        start,
        tail,
    };
    let kind = stream.content_type.kind();
    match stream.record().0.framing {
        _ if kind == Kind::Json => load.messages(wanted),
        framing if framing.is_framed() => load.appends(kind, framing, wanted),
        _ => load.unframed(kind, wanted),
    }
}

fn no_offset() -> ReadError {
    BadInput::new("offset", "is not one that this server gave out for this stream").into()
}

impl Load<'_> {
    /// The bytes of a range, all of them, whatever happens to the stream meanwhile. `None`: what
    /// lies below the read was given up meanwhile, and may have been read as anything.
    fn run(&self, record: &StreamRecord, from: Position, end: Position) -> Result<Option<Bytes>, ReadError> {
        let read = stored(self.storage, record, from, end);
        let (now, _, gone) = self.stream.record();
        let earliest = now.earliest();
        if gone == Some(Gone::Deleted) {
            return Err(ReadError::NotFound);
        }
        if self.start < earliest {
            return Err(ReadError::GivenUp {
                earliest: now.offset(earliest),
            });
        }
        if from < earliest {
            return Ok(None);
        }
        if !matches!(&read, Ok(bytes) if bytes.len() as u64 == end - from) {
            // A stream that is deleted under a reader loses its bytes before it is told to go.
            let stored = self.storage.get(&self.stream.name)?;
            if stored.is_none_or(|stored| stored.record.id != record.id) {
                return Err(ReadError::NotFound);
            }
        }
        let bytes = read?;
        if bytes.len() as u64 != end - from {
            let what = format!(
                "stream {} has {} bytes from {from} on where {} were acknowledged",
                record.id,
                bytes.len(),
                end - from
            );
            return Err(StorageError::Corrupt(what).into());
        }
        Ok(Some(bytes))
    }

    fn own_run(&self, record: &StreamRecord, from: Position, end: Position) -> Result<Bytes, ReadError> {
        // Retention trimmed the start, so the whole range may be gone.
        self.run(record, from, end)?.ok_or(ReadError::NotFound)
    }

    fn chunk(&self, len: usize, content: Bytes) -> Chunk {
        self.stream.chunk(self.start, self.start + len as u64, content)
    }

    /// Whole messages of a JSON stream; one at least, however large.
    fn messages(&self, wanted: Position) -> Result<Chunk, ReadError> {
        let (mut end, mut searched) = (wanted, 0);
        loop {
            let (record, ..) = self.stream.record();
            // The byte before tells whether a message starts here. One does at the earliest
            // position, and the byte before that is gone.
            let before = u64::from(self.start > record.earliest());
            let Some(mut bytes) = self.run(&record, self.start - before, end)? else {
                continue;
            };
            if before == 1 && !json::ends_message(&bytes.split_to(1)) {
                return Err(no_offset());
            }
            let whole = match searched {
                0 if end < self.tail => Some(json::whole_messages(&bytes)).filter(|whole| *whole > 0),
                0 => Some(bytes.len()),
                // A message that is larger than a read: it, and no more.
                searched => {
                    let rest = bytes.get(searched..).unwrap_or_default();
                    json::end_of(1, rest).ok().map(|end| searched + end)
                }
            };
            if let Some(whole) = whole.or((end == self.tail).then_some(bytes.len())) {
                bytes.truncate(whole);
                return Ok(self.chunk(whole, bytes));
            }
            // Twice as far each time, so that a large message is not read over and over.
            searched = bytes.len();
            end = self.tail.min(self.start + 2 * (end - self.start));
        }
    }

    /// Whole appends; one at least, however large.
    fn appends(&self, kind: Kind, framing: Framing, wanted: Position) -> Result<Chunk, ReadError> {
        let (record, ..) = self.stream.record();
        let mut end = wanted;
        // Else all that there is lies in a small piece.
        if wanted < self.tail || wanted - self.start >= LARGE {
            let head_end = self.tail.min(self.start + frame::MAX_HEADER as u64);
            let head = self.own_run(&record, self.start, head_end)?;
            let Header::Whole { size, len } = frame::read_header(&head, framing) else {
                return Err(no_offset());
            };
            let begin = self.start + size as u64;
            end = end.max(begin + len);
            if end > self.tail {
                return Err(no_offset());
            }
            if len >= LARGE {
                let content = self.own_run(&record, begin, begin + len)?;
                if kind != Kind::Text || !text::ends_torn(&content) || begin + len == self.tail {
                    return Ok(self.chunk(size + content.len(), content));
                }
            }
        }
        let joined = loop {
            let run = self.own_run(&record, self.start, end)?;
            let joined = unframe(kind, &run, framing);
            if joined.stored == 0 || (end == self.tail && joined.stored < run.len()) {
                return Err(no_offset());
            }
            if kind != Kind::Text || end == self.tail {
                break joined;
            }
            // Of text that goes on, an append that a character outlasts comes with the next one.
            let (whole, len) = joined.whole;
            if whole > 0 {
                return Ok(self.chunk(whole, joined.content.slice(..len)));
            }
            if joined.stored as u64 >= MAX_TORN {
                break joined;
            }
            let next = self.start + joined.stored as u64;
            let next_end = append_at(self.storage, self.stream, next, self.tail, 0)?.end;
            // Twice as far each time, so that small appends are not read over and over.
            end = self.tail.min(next_end.max(next + joined.stored as u64));
        };
        let (whole, len) = joined.whole;
        let chunk = self.chunk(joined.stored, joined.content);
        Ok(chunk.torn_after(self.start + whole as u64, len))
    }

    /// Bytes of a stream whose appends were not kept apart.
    fn unframed(&self, kind: Kind, wanted: Position) -> Result<Chunk, ReadError> {
        let (record, ..) = self.stream.record();
        let mut bytes = self.own_run(&record, self.start, wanted)?;
        let whole = match kind {
            Kind::Text => text::whole_characters(&bytes),
            Kind::Json | Kind::Binary => bytes.len(),
        };
        if whole > 0 && wanted < self.tail {
            bytes.truncate(whole);
        }
        let len = bytes.len();
        let chunk = self.chunk(len, bytes);
        Ok(chunk.torn_after(self.start + whole as u64, whole))
    }
}

/// The append that begins at a position.
#[derive(Debug)]
pub(super) struct AppendAt {
    /// Where it ends.
    pub(super) end: Position,
    /// How long it is.
    pub(super) len: u64,
    /// As much of its beginning as was asked for.
    pub(super) first: Bytes,
}

/// The append that begins at `start`, with up to `most` of its bytes.
pub(super) fn append_at(
    storage: &dyn Storage,
    stream: &Stream,
    start: Position,
    tail: Position,
    most: u64,
) -> Result<AppendAt, ReadError> {
    let load = Load {
        storage,
        stream,
        start,
        tail,
    };
    let (record, ..) = stream.record();
    let head_end = tail.min(start + frame::MAX_HEADER as u64);
    let head = load.own_run(&record, start, head_end)?;
    let Header::Whole { size, len } = frame::read_header(&head, record.framing) else {
        return Err(no_offset());
    };
    let begin = start + size as u64;
    if begin + len > tail {
        return Err(no_offset());
    }
    let first = load.own_run(&record, begin, begin + len.min(most))?;
    let end = begin + len;
    Ok(AppendAt { end, len, first })
}

/// Whole frames from `start` on: those up to `wanted`, and one at least.
pub(super) fn frames(
    storage: &dyn Storage,
    stream: &Stream,
    start: Position,
    wanted: Position,
    tail: Position,
) -> Result<Bytes, ReadError> {
    let first = append_at(storage, stream, start, tail, 0)?;
    let load = Load {
        storage,
        stream,
        start,
        tail,
    };
    let (record, ..) = stream.record();
    let mut run = load.own_run(&record, start, wanted.max(first.end))?;
    let mut frames = frame::frames(&run, record.framing);
    frames.by_ref().for_each(drop);
    let whole = frames.at();
    run.truncate(whole);
    Ok(run)
}

/// A stream's bytes, wherever they are: below a fork's start they are other streams'.
pub(super) fn stored(
    storage: &dyn Storage,
    record: &StreamRecord,
    start: Position,
    end: Position,
) -> Result<Bytes, StorageError> {
    let inherited = record
        .fork
        .iter()
        .flat_map(|fork| fork.lineage.iter().map(|part| (part.id, part.end)));
    let own = std::iter::once((record.id, Position::MAX));
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut at = start;
    for (id, part_end) in inherited.chain(own) {
        if at < end && at < part_end {
            pieces.push(storage.read(id, at..end.min(part_end))?);
            at = end.min(part_end);
        }
    }
    Ok(join(pieces))
}
