//! Reading a stream in the form in which it is stored, so that it can be written again as it is.

use std::sync::Arc;

use bytes::Bytes;

use super::{Engine, MAX_CHUNK_BYTES, errors::ReadError, load, stream::Stream};
use crate::{
    protocol::{Framing, Offset, ReadFrom, StreamName},
    storage::Position,
};

/// A part of a stream as it is stored.
#[derive(Debug, Clone)]
pub struct StoredPart {
    /// Whole frames, whole messages, or, of a stream that keeps neither apart, bytes.
    pub run: Bytes,
    /// Whether these are frames.
    pub framing: Framing,
    /// Where the part ends.
    pub end: Offset,
    /// Whether that was everything that was asked for.
    pub is_last: bool,
    /// Whether the stream is closed there.
    pub closed: bool,
}

impl Engine {
    /// The content after an offset, up to `until` or the tail, and not much more than
    /// [`MAX_CHUNK_BYTES`].
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read_stored(
        &self,
        name: &StreamName,
        from: ReadFrom,
        until: Option<Offset>,
    ) -> Result<StoredPart, ReadError> {
        let stream = self.find_readable(name).await?;
        self.touch(&stream, self.shared.clock.millis());
        loop {
            let snapshot = stream.snapshot();
            let start = stream.resolve(from, &snapshot)?;
            let end = match until {
                Some(until) => stream.resolve(ReadFrom::At(until), &snapshot)?,
                None => snapshot.tail,
            };
            let framing = stream.record().0.framing;
            let part = match self.run(&stream, start, end.max(start)).await {
                // The beginning is wherever there is one now.
                Err(ReadError::GivenUp { .. }) if from == ReadFrom::Beginning => continue,
                part => part?,
            };
            let part_end = start + part.len() as u64;
            return Ok(StoredPart {
                run: part,
                framing,
                end: stream.offset(part_end),
                is_last: part_end >= end,
                closed: snapshot.closed && part_end == snapshot.tail,
            });
        }
    }

    async fn run(&self, stream: &Arc<Stream>, start: Position, end: Position) -> Result<Bytes, ReadError> {
        if !stream.record().0.framing.is_framed() {
            return Ok(self.chunk(stream, start, end).await?.stored().clone());
        }
        if start == end {
            return Ok(Bytes::new());
        }
        let wanted = end.min(start.saturating_add(MAX_CHUNK_BYTES));
        let (storage, stream) = (Arc::clone(&self.shared.storage), Arc::clone(stream));
        let read = move || load::frames(&*storage, &stream, start, wanted, end);
        match self.shared.storage.blocking() {
            true => self.blocking(read).await?,
            false => read(),
        }
    }
}
