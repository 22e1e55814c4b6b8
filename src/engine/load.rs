//! Reads of the store: whole messages, whole appends, or, of text whose appends are not kept
//! apart, whole characters.

use bytes::{Bytes, BytesMut};

use super::{
    chunk::Chunk, errors::Unavailable, joined::unframe, read_error::ReadError, snapshot::Gone, stream::Stream, text,
};
use crate::{
    protocol::{
        Framing, Kind,
        frame::{self, Header},
        json,
    },
    storage::{Position, SharedStore, Storage, StorageError, StreamRecord},
};

/// An append of at least this size is a chunk of its own, which shares the store's memory where
/// the store is memory.
const MIN_OWN_CHUNK: u64 = 256 * 1024;

/// How far text is read for an append that ends with a whole character.
const MAX_SPLIT: u64 = 32 * 1024 * 1024;

/// A read of one stream from `start`, which may go up to `tail`.
struct Load<'s> {
    storage: &'s dyn Storage,
    stream: &'s Stream,
    start: Position,
    tail: Position,
}

/// Content from `start` to `wanted`, or to the last boundary before it, or else to the first after
/// it.
pub(super) fn load(
    storage: &dyn Storage,
    stream: &Stream,
    start: Position,
    wanted: Position,
    tail: Position,
) -> Result<Chunk, ReadError> {
    let load = Load::new(storage, stream, start, tail);
    match stream.record().framing {
        _ if stream.content_type.kind() == Kind::Json => load.messages(wanted),
        framing if framing.is_framed() => load.appends(framing, wanted),
        _ => load.unframed(wanted),
    }
}

/// Up to `most` bytes before `end`, as they are stored. `None`: retention has trimmed some of them
/// meanwhile.
pub(super) fn stored_before(
    storage: &dyn Storage,
    stream: &Stream,
    end: Position,
    most: u64,
) -> Result<Option<Bytes>, ReadError> {
    let record = stream.record();
    let from = end.saturating_sub(most).max(record.earliest());
    Load::new(storage, stream, end, end).read_window(&record, from, end)
}

/// An append in the store.
#[derive(Debug)]
pub(super) struct AppendAt {
    /// Where it ends.
    pub end: Position,
    pub len: u64,
    /// As much of its beginning as was asked for.
    pub first: Bytes,
}

/// The append that begins at `start`, with up to `most` of its bytes.
pub(super) fn append_at(
    storage: &dyn Storage,
    stream: &Stream,
    start: Position,
    tail: Position,
    most: u64,
) -> Result<AppendAt, ReadError> {
    let load = Load::new(storage, stream, start, tail);
    let record = stream.record();
    let frame = load.frame_at(&record, start)?;
    let first = load.read(&record, frame.content, frame.content + frame.len.min(most))?;
    Ok(AppendAt {
        end: frame.end(),
        len: frame.len,
        first,
    })
}

/// Whole frames from `start`: those up to `wanted`, but at least one.
pub(super) fn frames(
    storage: &dyn Storage,
    stream: &Stream,
    start: Position,
    wanted: Position,
    tail: Position,
) -> Result<Bytes, ReadError> {
    let load = Load::new(storage, stream, start, tail);
    let record = stream.record();
    let first = load.frame_at(&record, start)?;
    let mut run = load.read(&record, start, wanted.max(first.end()))?;
    let mut frames = frame::frames(&run, record.framing);
    frames.by_ref().for_each(drop);
    let whole = frames.at();
    run.truncate(whole);
    Ok(run)
}

/// A frame in the store.
struct FrameAt {
    /// Where its content begins.
    content: Position,
    len: u64,
}

impl FrameAt {
    fn end(&self) -> Position {
        self.content + self.len
    }
}

impl<'s> Load<'s> {
    fn new(storage: &'s dyn Storage, stream: &'s Stream, start: Position, tail: Position) -> Self {
        Self {
            storage,
            stream,
            start,
            tail,
        }
    }

    /// All bytes of a range, whatever happens to the stream meanwhile. `None`: retention has
    /// trimmed the range's beginning, but not the position at which this read begins.
    fn read_window(&self, record: &StreamRecord, from: Position, end: Position) -> Result<Option<Bytes>, ReadError> {
        let read = read_range(self.storage, record, from, end);
        if !self.storage.is_current(&self.stream.name, record.id, self.start)? {
            self.learn_of_change(record)?;
        }
        if !self.verify_still_current(from)? {
            return Ok(None);
        }
        match read {
            Ok(bytes) if bytes.len() as u64 == end - from => Ok(Some(bytes)),
            read => match self.explain_failure(record, from, end, read) {
                Some(error) => Err(error),
                None => self.verify_still_current(from).map(|_| None),
            },
        }
    }

    fn read(&self, record: &StreamRecord, from: Position, end: Position) -> Result<Bytes, ReadError> {
        self.read_window(record, from, end)?.ok_or(ReadError::NotFound)
    }

    /// Another server has trimmed the stream, which memory knows afterwards, or removed it.
    fn learn_of_change(&self, record: &StreamRecord) -> Result<(), ReadError> {
        if self.storage.shared().is_none() {
            // The store was handed over, and this server can look at nothing but bytes.
            return Err(ReadError::NotFound);
        }
        match self.storage.get(&self.stream.name)? {
            Some(stored) if stored.record.id == record.id => {
                self.stream.take_over(stored, None);
                Ok(())
            }
            _ => Err(ReadError::NotFound),
        }
    }

    /// Whether the bytes from `from` on are still the stream's. Those that are trimmed or deleted
    /// during a read may be read as anything.
    fn verify_still_current(&self, from: Position) -> Result<bool, ReadError> {
        let snapshot = self.stream.snapshot();
        match snapshot.gone {
            Some(Gone::Deleted) => return Err(ReadError::NotFound),
            Some(Gone::Outdated) => return Err(Unavailable::Raced.into()),
            Some(Gone::SoftDeleted) | None => {}
        }
        let history = self.storage.shared().map(SharedStore::history);
        if history.is_some_and(|history| history != self.stream.origin().history) {
            // These may be other bytes than those of the stream in memory, which nobody has told yet.
            return Err(Unavailable::Raced.into());
        }
        if self.start < snapshot.earliest() {
            return Err(snapshot.trimmed());
        }
        Ok(from >= snapshot.earliest())
    }

    /// Why a range was not read: the stream has been removed, the store failed, or it lost bytes.
    /// `None`: another server has trimmed it, and memory knows that now.
    fn explain_failure(
        &self,
        record: &StreamRecord,
        from: Position,
        end: Position,
        read: Result<Bytes, StorageError>,
    ) -> Option<ReadError> {
        // A stream is removed from the store before its readers are told.
        match self.storage.get(&self.stream.name) {
            Err(error) => return Some(error.into()),
            Ok(Some(stored)) if stored.record.id == record.id => {
                if stored.record.first() > from {
                    self.stream.take_over(stored, None);
                    return None;
                }
            }
            Ok(_) => return Some(ReadError::NotFound),
        }
        let (id, acknowledged) = (record.id, end - from);
        let error = read.map_or_else(std::convert::identity, |bytes| {
            let found = bytes.len();
            StorageError::Corrupt(format!(
                "stream {id} has {found} bytes from position {from} where {acknowledged} were acknowledged"
            ))
        });
        Some(error.into())
    }

    fn chunk(&self, len: usize, content: Bytes) -> Chunk {
        self.stream.chunk(self.start, self.start + len as u64, content)
    }

    /// Whole messages of a JSON stream; at least one, however large.
    fn messages(&self, wanted: Position) -> Result<Chunk, ReadError> {
        let (mut end, mut searched) = (wanted, 0);
        loop {
            let Some(mut bytes) = self.messages_window(end)? else {
                continue;
            };
            if let Some(whole) = cut_at_boundary(&bytes, searched, end == self.tail) {
                bytes.truncate(whole);
                return Ok(self.chunk(whole, bytes));
            }
            // Doubling, so that a large message is not read over and over.
            searched = bytes.len();
            end = self.tail.min(self.start + 2 * (end - self.start));
        }
    }

    /// The bytes from `start` to `end`, if a message begins at `start`. `None`: retention trimmed
    /// the byte before, which tells.
    fn messages_window(&self, end: Position) -> Result<Option<Bytes>, ReadError> {
        let record = self.stream.record();
        // At the earliest position a message begins, and the byte before it is gone.
        if self.start <= record.earliest() {
            return self.read_window(&record, self.start, end);
        }
        let Some(mut bytes) = self.read_window(&record, self.start - 1, end)? else {
            return Ok(None);
        };
        match json::ends_message(&bytes.split_to(1)) {
            true => Ok(Some(bytes)),
            false => Err(ReadError::InvalidOffset),
        }
    }

    /// The frame that begins at a position.
    fn frame_at(&self, record: &StreamRecord, at: Position) -> Result<FrameAt, ReadError> {
        let head = self.read(record, at, self.tail.min(at + frame::MAX_HEADER as u64))?;
        let Header::Whole { size, len } = frame::read_header(&head, record.framing) else {
            return Err(ReadError::InvalidOffset);
        };
        let frame = FrameAt {
            content: at + size as u64,
            len,
        };
        match frame.end() <= self.tail {
            true => Ok(frame),
            false => Err(ReadError::InvalidOffset),
        }
    }

    /// Whole appends; at least one, however large.
    fn appends(&self, framing: Framing, wanted: Position) -> Result<Chunk, ReadError> {
        let record = self.stream.record();
        // Otherwise everything up to the tail is one small window.
        let needs_first = wanted < self.tail || wanted - self.start >= MIN_OWN_CHUNK;
        if !needs_first {
            return self.joined_appends(&record, framing, wanted);
        }
        let first = self.frame_at(&record, self.start)?;
        if first.len >= MIN_OWN_CHUNK {
            let content = self.read(&record, first.content, first.end())?;
            let is_text = self.stream.content_type.kind() == Kind::Text;
            if !is_text || first.end() == self.tail || !text::ends_inside_character(&content) {
                return Ok(self.stream.chunk(self.start, first.end(), content));
            }
        }
        self.joined_appends(&record, framing, wanted.max(first.end()))
    }

    /// The content of the appends up to `end`. Text goes on until an append ends with a whole
    /// character.
    fn joined_appends(&self, record: &StreamRecord, framing: Framing, mut end: Position) -> Result<Chunk, ReadError> {
        let kind = self.stream.content_type.kind();
        loop {
            let run = self.read(record, self.start, end)?;
            let joined = unframe(kind, &run, framing);
            let is_tail = end == self.tail;
            if joined.stored == 0 || (is_tail && joined.stored < run.len()) {
                return Err(ReadError::InvalidOffset);
            }
            if kind != Kind::Text || is_tail {
                return Ok(joined.into_chunk(kind, record, self.start));
            }
            let whole = joined.whole;
            if whole.stored > 0 {
                return Ok(self.chunk(whole.stored, joined.content.slice(..whole.content)));
            }
            if joined.stored as u64 >= MAX_SPLIT {
                return Ok(joined.into_chunk(kind, record, self.start));
            }
            let next = self.start + joined.stored as u64;
            // Doubling, so that small appends are not read over and over.
            let doubled = next + joined.stored as u64;
            end = self.tail.min(doubled.max(self.frame_at(record, next)?.end()));
        }
    }

    /// Bytes of a stream whose appends are not kept apart.
    fn unframed(&self, wanted: Position) -> Result<Chunk, ReadError> {
        let mut bytes = self.read(&self.stream.record(), self.start, wanted)?;
        let whole = match self.stream.content_type.kind() {
            Kind::Text => text::whole_characters(&bytes),
            Kind::Json | Kind::Binary => bytes.len(),
        };
        if whole > 0 && wanted < self.tail {
            bytes.truncate(whole);
        }
        let chunk = self.chunk(bytes.len(), bytes);
        Ok(chunk.with_boundary(self.start + whole as u64, whole))
    }
}

/// The length of the whole messages at the beginning of `bytes`, of which `searched` bytes hold no
/// end of a message; `None` if there is none.
fn cut_at_boundary(bytes: &[u8], searched: usize, is_tail: bool) -> Option<usize> {
    if searched > 0 {
        // The first message is larger than the first window. It makes a chunk of its own.
        let rest = bytes.get(searched..).unwrap_or_default();
        let end = json::end_of(1, rest).ok().map(|end| searched + end);
        return end.or_else(|| is_tail.then_some(bytes.len()));
    }
    let whole = if is_tail {
        bytes.len()
    } else {
        json::whole_messages(bytes)
    };
    (whole > 0).then_some(whole)
}

/// A stream's bytes, wherever they are: below a fork's start they are other streams'.
pub(super) fn read_range(
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
    Ok(concat(pieces))
}

/// Pieces as one; a single one is not copied.
fn concat(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() == 1 {
        return pieces.swap_remove(0);
    }
    let mut all = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in &pieces {
        all.extend_from_slice(piece);
    }
    all.freeze()
}
