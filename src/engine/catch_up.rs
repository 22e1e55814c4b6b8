//! Catch-up reads (section 5.6): everything from a position up to the tail at the time of the
//! request, read from the store in pieces as the reader takes them.

use std::sync::Arc;

use super::{
    Engine, chunk::Chunk, read_error::ReadError, reader::ReaderGuard, sharing::Followed, snapshot::Identity,
    stream::Stream,
};
use crate::{
    protocol::{Kind, Lifetime, Offset, ReadFrom, StreamName},
    storage::Position,
};

/// A part of a stream, as it was at the time of the request.
pub struct CatchUp {
    stream: Arc<Stream>,
    /// Where the part begins.
    pub start: Offset,
    /// Where it ends, and where the next read begins.
    pub end: Offset,
    /// Whether the part ends at the tail.
    pub up_to_date: bool,
    /// Whether the part ends at the tail of a closed stream.
    pub closed: bool,
    /// The content. Empty for a read from the tail.
    pub pieces: Pieces,
}

impl CatchUp {
    /// The stream. With the positions it identifies the bytes forever.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.stream.identity()
    }

    /// The stream's content type, as given.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.stream.content_type.as_str()
    }

    /// How the stream is treated.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.stream.content_type.kind()
    }

    /// How long the stream lives.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.stream.lifetime()
    }

    /// The length of the pieces' bodies, joined, if it is known before all of them are read. An
    /// array of messages is as long as its stored form, because brackets replace the last
    /// separator. Appends are stored with frame headers.
    #[must_use]
    pub fn body_len(&self) -> Option<u64> {
        let stored = self.end.position - self.start.position;
        match (self.kind(), self.pieces.only()) {
            _ if stored == 0 => Some(0),
            (Kind::Json, _) => Some(stored),
            (Kind::Text | Kind::Binary, Some(only)) => Some(only.body().len() as u64),
            (Kind::Text | Kind::Binary, None) => {
                let is_framed = self.stream.record().framing.is_framed();
                (!is_framed).then_some(stored)
            }
        }
    }

    /// [`CatchUp::body_len`], computed by reading all pieces.
    ///
    /// # Errors
    /// See [`Pieces::next`].
    pub async fn measure(&self) -> Result<u64, ReadError> {
        let mut len = self.pieces.first.as_ref().map_or(0, |chunk| chunk.body().len() as u64);
        if let Some(rest) = &self.pieces.rest {
            let mut at = rest.at;
            while at < rest.end {
                let chunk = rest.engine.chunk(&self.stream, at, rest.end).await?;
                len += chunk.body().len() as u64;
                at = chunk.end.position;
            }
        }
        Ok(len)
    }
}

/// The chunks of a catch-up read, in order.
#[derive(Default)]
pub struct Pieces {
    /// Read before the response begins, so that a bad request gets a status.
    first: Option<Arc<Chunk>>,
    rest: Option<Box<Rest>>,
}

/// Chunks that have not been read yet.
struct Rest {
    engine: Engine,
    /// Keeps a sliding lifetime from running out during the read,
    reader: ReaderGuard,
    /// also at the other servers of a shared store.
    followed: Option<Followed>,
    at: Position,
    end: Position,
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some(followed) = &self.followed {
            self.engine.note_use(followed.stream());
        }
    }
}

impl Pieces {
    /// A single piece.
    #[must_use]
    pub fn one(chunk: Arc<Chunk>) -> Self {
        Self {
            first: Some(chunk),
            rest: None,
        }
    }

    /// Whether the last piece has been returned.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }

    /// The piece, if there is only one.
    #[must_use]
    pub fn only(&self) -> Option<&Arc<Chunk>> {
        self.first.as_ref().filter(|_| self.rest.is_none())
    }

    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// When the store cannot be read, or the stream was deleted or trimmed meanwhile. The pieces
    /// returned before are incomplete then.
    pub async fn next(&mut self) -> Result<Option<Arc<Chunk>>, ReadError> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(rest) = &mut self.rest else { return Ok(None) };
        let chunk = rest.engine.chunk(rest.reader.stream(), rest.at, rest.end).await?;
        rest.at = chunk.end.position;
        if rest.at >= rest.end {
            self.rest = None;
        }
        Ok(Some(chunk))
    }
}

impl Engine {
    /// Everything from a position up to the tail, or whole messages of at most
    /// [`LimitsConfig::max_read_bytes`](super::LimitsConfig::max_read_bytes), unless the first one is larger.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, name: &StreamName, from: ReadFrom) -> Result<CatchUp, ReadError> {
        let stream = self.find_readable(name).await?;
        self.touch(&stream, self.shared.clock.millis()).await;
        let (snapshot, start, first) = loop {
            let snapshot = stream.snapshot();
            let start = snapshot.resolve(from)?;
            if from == ReadFrom::Now {
                break (snapshot, start, None);
            }
            match self.chunk(&stream, start, snapshot.tail).await {
                // The stream was trimmed meanwhile and begins later.
                Err(ReadError::Trimmed { .. }) if from == ReadFrom::Beginning => {}
                chunk => break (snapshot, start, Some(chunk?)),
            }
        };
        let first_end = first.as_ref().map_or(start, |chunk| chunk.end.position);
        let end = match (&first, self.shared.max_read_bytes) {
            (None, _) => start,
            (Some(_), None) => snapshot.tail,
            (Some(_), Some(most)) => {
                let limit = start.saturating_add(most);
                self.page_end(&stream, first_end, limit, snapshot.tail).await?
            }
        };
        let rest = (first_end < end).then(|| {
            Box::new(Rest {
                engine: self.clone(),
                reader: ReaderGuard::new(Arc::clone(&stream), self.shared.clock.clone()),
                followed: self.keep_alive(&stream),
                at: first_end,
                end,
            })
        });
        let up_to_date = end >= snapshot.tail;
        Ok(CatchUp {
            start: stream.offset(start),
            end: stream.offset(end),
            stream,
            up_to_date,
            closed: snapshot.is_closed() && up_to_date,
            pieces: Pieces { first, rest },
        })
    }

    /// Where a page ends: after the last chunk that ends at or before `limit`. Messages have to be
    /// read to find their ends; the pieces then come from the cache.
    async fn page_end(
        &self,
        stream: &Arc<Stream>,
        mut at: Position,
        limit: Position,
        tail: Position,
    ) -> Result<Position, ReadError> {
        while at < tail.min(limit) {
            let end = self.chunk(stream, at, tail).await?.end.position;
            if end > limit {
                break;
            }
            at = end;
        }
        Ok(at)
    }
}
