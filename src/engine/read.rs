//! Metadata (section 5.5), and a stream's content a chunk at a time.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine, Shared,
    chunk::Chunk,
    errors::ReadError,
    load::load,
    retention,
    stream::{Gone, Stream},
};
use crate::{
    protocol::{Lifetime, Offset, RetentionPolicy, StreamName},
    storage::{Position, StreamRecord},
};

/// The most bytes of a chunk, unless a single message or append is larger.
pub const MAX_CHUNK_BYTES: u64 = 1024 * 1024;

/// A stream's metadata.
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

impl Shared {
    /// The metadata of a stream with this record and tail.
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

    pub(super) async fn find_readable(&self, name: &StreamName) -> Result<Arc<Stream>, ReadError> {
        let stream = self.find(name).await?.ok_or(ReadError::NotFound)?;
        match stream.snapshot().gone {
            None => Ok(stream),
            Some(Gone::Deleted) => Err(ReadError::NotFound),
            Some(Gone::SoftDeleted) => Err(ReadError::Gone),
        }
    }

    /// The content from `start` on, up to `tail` or as much as a chunk holds, which all readers
    /// share.
    pub(super) async fn chunk(
        &self,
        stream: &Arc<Stream>,
        start: Position,
        tail: Position,
    ) -> Result<Arc<Chunk>, ReadError> {
        let most = self
            .shared
            .max_read_bytes
            .map_or(MAX_CHUNK_BYTES, |most| most.min(MAX_CHUNK_BYTES));
        let wanted = tail.min(start.saturating_add(most));
        // The end is a place where a message may begin, and a read there costs nothing.
        if start >= tail {
            return Ok(Arc::new(stream.chunk(start, start, Bytes::new())));
        }
        let chunk = self.load(stream, start, wanted, tail, wanted).await?;
        // It ended at the tail, where the rest of a character was missing. The stream has grown.
        if chunk.torn().is_some() && chunk.end.position < tail {
            return self.load(stream, start, wanted, tail, tail).await;
        }
        Ok(chunk)
    }

    async fn load(
        &self,
        stream: &Arc<Stream>,
        start: Position,
        wanted: Position,
        tail: Position,
        key_end: Position,
    ) -> Result<Arc<Chunk>, ReadError> {
        let key = (stream.id, start, key_end);
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
