//! Metadata and catch-up reads (sections 5.5 and 5.6).

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine, Shared,
    chunk::Chunk,
    errors::ReadError,
    load::load,
    retention,
    stream::{Gone, Identity, Stream},
};
use crate::{
    clock,
    protocol::{Kind, Offset, ReadFrom, StreamName},
    storage::{Lifetime, Position, RetentionPolicy, StreamRecord},
};

/// How many bytes one read returns at most, unless a single message is larger.
pub const MAX_READ_BYTES: u64 = 1024 * 1024;

/// What is known of a stream without its content.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Its content type, as given.
    pub content_type: String,
    /// Its tail.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// How much of its past it keeps; `None`: all of it.
    pub retention: Option<RetentionPolicy>,
    /// Where the earliest content that can be read begins.
    pub earliest: Offset,
    /// Where each earlier life ended whose offsets are this stream's too, oldest first.
    pub lives: Vec<Offset>,
}

/// A part of a stream.
#[derive(Debug, Clone)]
pub struct Slice {
    /// Which stream; with the positions this names the bytes for ever.
    pub identity: Identity,
    /// The stream's content type, as given.
    pub content_type: String,
    /// The bytes; `None` where the read asked for nothing but the tail.
    pub chunk: Option<Arc<Chunk>>,
    /// How the stream is treated.
    pub kind: Kind,
    /// Where the part begins.
    pub start: Offset,
    /// Where it ends, and where the next read begins.
    pub end: Offset,
    /// Whether that was everything.
    pub up_to_date: bool,
    /// Whether that was everything for ever.
    pub closed: bool,
}

impl Shared {
    /// What there is to know of a stream whose record and tail are these.
    pub(super) fn describe(&self, name: &StreamName, record: &StreamRecord, tail: Position) -> Metadata {
        Metadata {
            content_type: record.content_type.clone(),
            tail: record.offset(tail),
            closed: record.closed,
            lifetime: record.lifetime,
            retention: retention::policy(record, &self.retention, name),
            earliest: record.offset(record.earliest()),
            lives: record.lives.iter().map(|life| record.offset(life.end)).collect(),
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

    /// What is there from a position on, up to [`MAX_READ_BYTES`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, name: &StreamName, from: ReadFrom) -> Result<Slice, ReadError> {
        let stream = self.find_readable(name).await?;
        self.touch(&stream, clock::now_millis());
        let (snapshot, start, chunk) = loop {
            let snapshot = stream.snapshot();
            let start = stream.resolve(from, &snapshot)?;
            if from == ReadFrom::Now {
                break (snapshot, start, None);
            }
            match self.chunk(&stream, start, snapshot.tail).await {
                // The beginning is wherever there is one now.
                Err(ReadError::GivenUp { .. }) if from == ReadFrom::Beginning => {}
                chunk => break (snapshot, start, Some(chunk?)),
            }
        };
        let start = stream.offset(start);
        let end = chunk.as_ref().map_or(start, |chunk| chunk.end);
        Ok(Slice {
            identity: stream.identity(),
            content_type: stream.content_type.as_str().to_owned(),
            chunk,
            kind: stream.content_type.kind(),
            start,
            end,
            up_to_date: end.position == snapshot.tail,
            closed: snapshot.closed && end.position == snapshot.tail,
        })
    }

    pub(super) async fn find_readable(&self, name: &StreamName) -> Result<Arc<Stream>, ReadError> {
        let stream = self.find(name).await?.ok_or(ReadError::NotFound)?;
        match stream.snapshot().gone {
            None => Ok(stream),
            Some(Gone::Deleted) => Err(ReadError::NotFound),
            Some(Gone::SoftDeleted) => Err(ReadError::Gone),
        }
    }

    /// The bytes from `start` on, up to `tail` or as many as one read may return. What one
    /// reader has read is shared with the others.
    pub(super) async fn chunk(
        &self,
        stream: &Arc<Stream>,
        start: Position,
        tail: Position,
    ) -> Result<Arc<Chunk>, ReadError> {
        let wanted = tail.min(start.saturating_add(MAX_READ_BYTES));
        // The end is a place where a message may begin, and a read there costs nothing.
        if start >= tail {
            return Ok(Arc::new(stream.chunk(start, start, Bytes::new())));
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
        self.shared.chunks.get_or_insert_async(&key, load).await
    }
}
