//! Metadata (section 5.5), and a stream's bytes a chunk at a time.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine, Shared,
    chunk::Chunk,
    errors::ReadError,
    retention,
    stream::{Gone, Snapshot, Stream, join},
};
use crate::{
    protocol::{BadInput, Kind, ReadFrom, StreamName, json},
    storage::{Lifetime, Position, RetentionPolicy, Storage, StorageError, StreamRecord},
};

/// The most bytes of a chunk, unless a single message is larger.
pub const MAX_CHUNK_BYTES: u64 = 1024 * 1024;

/// What is known of a stream without its content.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Its content type, as given.
    pub content_type: String,
    /// Its tail.
    pub tail: Position,
    /// Whether it is closed.
    pub closed: bool,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// How much of its past it keeps; `None`: all of it.
    pub retention: Option<RetentionPolicy>,
    /// The earliest position that can be read.
    pub earliest: Position,
}

impl Shared {
    /// What there is to know of a stream whose record and tail are these.
    pub(super) fn describe(&self, name: &StreamName, record: &StreamRecord, tail: Position) -> Metadata {
        Metadata {
            content_type: record.content_type.clone(),
            tail,
            closed: record.closed,
            lifetime: record.lifetime,
            retention: retention::policy(record, &self.retention, name),
            earliest: record.earliest(),
        }
    }
}

impl Engine {
    /// A stream's metadata. Does not count as a read for a sliding lifetime.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn metadata(&self, name: &StreamName) -> Result<Metadata, ReadError> {
        let stream = self.find_readable(name).await?;
        let (record, tail, _) = stream.record();
        Ok(self.shared.describe(name, &record, tail))
    }

    pub(super) async fn find_readable(&self, name: &StreamName) -> Result<Arc<Stream>, ReadError> {
        let stream = self.find(name).await?.ok_or(ReadError::NotFound)?;
        match stream.snapshot().gone {
            None => Ok(stream),
            Some(Gone::Deleted) => Err(ReadError::NotFound),
            Some(Gone::SoftDeleted) => Err(ReadError::Gone),
        }
    }

    /// The bytes from `start` on, up to `tail` or as many as a chunk holds, which all readers
    /// share.
    pub(super) async fn chunk(
        &self,
        stream: &Arc<Stream>,
        start: Position,
        tail: Position,
    ) -> Result<Arc<Chunk>, ReadError> {
        let kind = stream.content_type.kind();
        let most = self
            .shared
            .max_read_bytes
            .map_or(MAX_CHUNK_BYTES, |most| most.min(MAX_CHUNK_BYTES));
        let wanted = tail.min(start.saturating_add(most));
        // The end is a place where a message may begin, and a read there costs nothing.
        if start >= tail {
            return Ok(Arc::new(Chunk::new(kind, start, Bytes::new())));
        }
        let key = (stream.id, start, wanted);
        let load = async {
            let (storage, stream) = (Arc::clone(&self.shared.storage), Arc::clone(stream));
            let read = move || load(&*storage, &stream, start, wanted, tail);
            if self.shared.storage.blocking() {
                self.blocking(read).await?
            } else {
                read()
            }
            .map(Arc::new)
        };
        self.shared.chunks.get_or_load(&key, load).await
    }
}

/// The position where a read begins.
pub(super) fn resolve(from: ReadFrom, stream: &Snapshot) -> Result<Position, ReadError> {
    match from {
        ReadFrom::Beginning => Ok(stream.earliest),
        ReadFrom::Now => Ok(stream.tail),
        ReadFrom::At(offset) if offset.0 < stream.earliest => Err(ReadError::GivenUp {
            earliest: stream.earliest,
        }),
        ReadFrom::At(offset) if offset.0 <= stream.tail => Ok(offset.0),
        ReadFrom::At(_) => Err(BadInput::new(
            "offset",
            "is behind the end of the stream; it is not one of this stream's",
        )
        .into()),
    }
}

/// Reads whole messages, or, of text, whole characters.
fn load(
    storage: &dyn Storage,
    stream: &Stream,
    start: Position,
    wanted: Position,
    tail: Position,
) -> Result<Chunk, ReadError> {
    let kind = stream.content_type.kind();
    let (mut record, ..) = stream.record();
    let (mut end, mut searched) = (wanted, 0);
    loop {
        // The byte before tells whether a message starts here. One does at the earliest position,
        // and the byte before that is gone.
        let before = u64::from(kind == Kind::Json && start > record.earliest());
        let mut bytes = stored(storage, &record, start - before, end)?;
        // What was given up meanwhile, or belonged to a stream that is not there any more, may
        // have been read as anything.
        let (now, _, gone) = stream.record();
        let earliest = now.earliest();
        if gone == Some(Gone::Deleted) {
            return Err(ReadError::NotFound);
        }
        if start < earliest {
            return Err(ReadError::GivenUp { earliest });
        }
        if start - before < earliest {
            record = now;
            continue;
        }
        if bytes.len() as u64 != end - start + before {
            // A stream that is deleted under a reader loses its bytes before it is told to go.
            if storage.get(&stream.name)?.is_none_or(|now| now.record.id != record.id) {
                return Err(ReadError::NotFound);
            }
            let what = format!(
                "stream {} has {} bytes from {} on where {} were acknowledged",
                record.id,
                bytes.len(),
                start - before,
                end - start + before
            );
            return Err(StorageError::Corrupt(what).into());
        }
        if before == 1 && !json::ends_message(&bytes.split_to(1)) {
            return Err(BadInput::new("offset", "is not one that this server gave out for this stream").into());
        }
        let whole = match kind {
            // A message that is larger than a read: it, and no more.
            Kind::Json if searched > 0 => {
                let rest = bytes.get(searched..).unwrap_or_default();
                json::end_of(1, rest).ok().map(|end| searched + end)
            }
            Kind::Text => Some(whole(kind, &bytes)).filter(|whole| *whole > 0),
            _ if end < tail => Some(whole(kind, &bytes)).filter(|whole| *whole > 0),
            _ => Some(bytes.len()),
        };
        if let Some(whole) = whole {
            bytes.truncate(whole);
            return Ok(Chunk::new(kind, start, bytes));
        }
        if end == tail {
            return Ok(Chunk::new(kind, start, bytes));
        }
        // Twice as far each time, so that a large message is not read over and over.
        searched = bytes.len();
        end = tail.min(start + 2 * (end - start));
    }
}

/// Whether a character of UTF-8 begins with this byte.
pub(super) fn starts_character(byte: u8) -> bool {
    (byte as i8) >= -0x40
}

/// How many of the bytes can be sent without tearing a message or a character apart.
fn whole(kind: Kind, bytes: &[u8]) -> usize {
    match kind {
        Kind::Json => json::whole_messages(bytes),
        Kind::Binary => bytes.len(),
        Kind::Text => bytes.len() - torn(bytes),
    }
}

/// Whether text ends inside a character that the bytes after it may complete.
pub(super) fn ends_inside_character(text: &[u8]) -> bool {
    torn(text) > 0
}

/// How many bytes at the end of a text are the beginning of a character.
fn torn(text: &[u8]) -> usize {
    let from_last = text
        .iter()
        .rev()
        .take(4)
        .position(|byte| starts_character(*byte))
        .map_or(0, |back| back + 1);
    let last = text.get(text.len() - from_last..).unwrap_or_default();
    match std::str::from_utf8(last) {
        Err(error) if error.error_len().is_none() => from_last,
        _ => 0,
    }
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
