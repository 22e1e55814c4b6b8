//! Content in its stored form, for copies that keep offsets.

use std::sync::Arc;

use bytes::Bytes;

use super::{Engine, load, read_chunk::MAX_CHUNK_BYTES, read_error::ReadError, snapshot::Snapshot, stream::Stream};
use crate::{
    protocol::{Framing, Offset, ReadFrom, StreamName},
    storage::{Position, Storage},
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
    /// Whether the part ends where the request did.
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
        self.touch(&stream, self.shared.clock.millis()).await;
        loop {
            let snapshot = stream.snapshot();
            let start = snapshot.resolve(from)?;
            let end = match until {
                Some(until) => snapshot.resolve(ReadFrom::At(until))?,
                None => snapshot.tail,
            };
            let run = match self.stored_run(&stream, &snapshot, start, end.max(start)).await {
                // The stream was trimmed meanwhile and begins later.
                Err(ReadError::Trimmed { .. }) if from == ReadFrom::Beginning => continue,
                run => run?,
            };
            let run_end = start + run.len() as u64;
            return Ok(StoredPart {
                run,
                framing: stream.record().framing,
                end: stream.offset(run_end),
                is_last: run_end >= end,
                closed: snapshot.is_closed() && run_end == snapshot.tail,
            });
        }
    }

    async fn stored_run(
        &self,
        stream: &Arc<Stream>,
        snapshot: &Snapshot,
        start: Position,
        end: Position,
    ) -> Result<Bytes, ReadError> {
        if !snapshot.record.framing.is_framed() {
            return Ok(self.chunk(stream, start, end).await?.stored().clone());
        }
        if start == end {
            return Ok(Bytes::new());
        }
        let wanted = end.min(start.saturating_add(MAX_CHUNK_BYTES));
        let stream = Arc::clone(stream);
        let read = move |storage: &dyn Storage| load::frames(storage, &stream, start, wanted, end);
        self.read_storage(read).await
    }
}
