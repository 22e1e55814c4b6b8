//! Content a chunk at a time, from memory or from the store: what every kind of read is made of.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine, chunk::Chunk, errors::Unavailable, load::load, read_error::ReadError, snapshot::Gone, stream::Stream,
};
use crate::{
    protocol::StreamName,
    storage::{Position, Storage},
};

/// The maximum size of a chunk, unless a single message or append is larger.
pub const MAX_CHUNK_BYTES: u64 = 1024 * 1024;

impl Engine {
    /// The stream of a name, unless it is gone.
    pub(super) async fn find_readable(&self, name: &StreamName) -> Result<Arc<Stream>, ReadError> {
        let stream = self.find_fresh(name).await?.ok_or(ReadError::NotFound)?;
        match stream.gone() {
            None => Ok(stream),
            Some(Gone::Deleted) => Err(ReadError::NotFound),
            Some(Gone::Outdated) => Err(Unavailable::Raced.into()),
            Some(Gone::SoftDeleted) => Err(ReadError::Gone),
        }
    }

    /// The content from `start` to `tail`, or as much of it as a chunk holds. Readers share it.
    pub(super) async fn chunk(
        &self,
        stream: &Arc<Stream>,
        start: Position,
        tail: Position,
    ) -> Result<Arc<Chunk>, ReadError> {
        // Reading at the tail is valid and yields nothing.
        if start >= tail {
            return Ok(Arc::new(stream.chunk(start, start, Bytes::new())));
        }
        let max_read_bytes = self.shared.max_read_bytes.unwrap_or(MAX_CHUNK_BYTES);
        let wanted = tail.min(start.saturating_add(max_read_bytes.min(MAX_CHUNK_BYTES)));
        let chunk = self.load(stream, start, wanted, tail, wanted).await?;
        // The chunk ended at an earlier tail, inside a character that has been completed since.
        if chunk.split_character().is_some() && chunk.end.position < tail {
            return self.load(stream, start, wanted, tail, tail).await;
        }
        Ok(chunk)
    }

    /// The chunk that is cached by its start and `key_end`, or else read from the store.
    async fn load(
        &self,
        stream: &Arc<Stream>,
        start: Position,
        wanted: Position,
        tail: Position,
        key_end: Position,
    ) -> Result<Arc<Chunk>, ReadError> {
        let key = stream.chunk_key(start, key_end);
        let read = async {
            let stream = Arc::clone(stream);
            let read = move |storage: &dyn Storage| load(storage, &stream, start, wanted, tail);
            self.read_storage(read).await.map(Arc::new)
        };
        self.shared.chunks.get_or_load(&key, read).await
    }

    /// Reads the store, on another thread if it blocks.
    pub(super) async fn read_storage<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Storage) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        let storage = &self.shared.storage;
        if !storage.blocking() {
            return read(&**storage);
        }
        let storage = Arc::clone(storage);
        self.blocking(move || read(&*storage)).await?
    }
}
