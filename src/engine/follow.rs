//! Live reads: waiting for what comes next (sections 5.7 and 5.8).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    Engine,
    chunk::Chunk,
    errors::ReadError,
    stream::{Gone, Identity, Snapshot, Stream},
};
use crate::{
    clock::Clock,
    protocol::{Kind, Lifetime, Offset, ReadFrom, StreamName},
    storage::Position,
};

/// A reader of a stream that waits at its end. It costs nothing while nothing happens.
pub struct Follower {
    engine: Engine,
    reader: Reader,
    at: Position,
    /// Nothing was read yet, and it may be read from wherever the stream begins.
    at_beginning: bool,
    /// Text ends with whole characters for this reader.
    whole_characters: bool,
    /// The tail at which the reader had everything but the beginning of a character.
    held_to: Position,
}

/// How much a live reader has still to read, for others than the reader itself.
#[derive(Clone)]
pub struct Backlog {
    stream: Arc<Stream>,
    at: Arc<AtomicU64>,
}

impl Backlog {
    /// Notes how far the reader is.
    pub fn note(&self, follower: &Follower) {
        self.at.store(follower.at, Ordering::Release);
    }

    /// Bytes between the reader and the tail.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let snapshot = self.stream.snapshot();
        let at = self.at.load(Ordering::Acquire).max(snapshot.earliest);
        snapshot.tail.saturating_sub(at)
    }
}

/// Counts as a reader of a stream for as long as it exists.
pub(super) struct Reader {
    stream: Arc<Stream>,
    clock: Clock,
}

/// One step of a live read.
#[derive(Debug, Clone)]
pub enum Event {
    /// More bytes.
    Chunk {
        /// These.
        chunk: Arc<Chunk>,
        /// Whether that was everything.
        up_to_date: bool,
        /// Whether that was everything for ever.
        closed: bool,
    },
    /// The reader has everything but an append that ends inside of a character.
    HeldBack,
    /// The reader has everything, and the stream is closed.
    Closed,
    /// The stream was deleted or has expired.
    Gone {
        /// It is kept for its forks.
        softly: bool,
    },
}

impl Engine {
    /// Follows a stream from a position on.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn follow(&self, name: &StreamName, from: ReadFrom) -> Result<Follower, ReadError> {
        let stream = self.find_readable(name).await?;
        self.touch(&stream, self.shared.clock.millis());
        let reader = Reader::new(stream, self.shared.clock.clone());
        let snapshot = reader.stream.snapshot();
        let at = reader.stream.resolve(from, &snapshot)?;
        let follower = Follower {
            engine: self.clone(),
            reader,
            at,
            at_beginning: from == ReadFrom::Beginning,
            whole_characters: false,
            held_to: 0,
        };
        // A position that is none is refused here, where it can still be said with a status.
        // What was read for that is what the reader gets first.
        let has_places = follower.kind() == Kind::Json || follower.reader.stream.record().0.framing.is_framed();
        if matches!(from, ReadFrom::At(_)) && has_places {
            follower
                .engine
                .chunk(&follower.reader.stream, at, snapshot.tail)
                .await?;
        }
        Ok(follower)
    }
}

impl Follower {
    /// Holds text that ends inside of a character back until the character is complete or the
    /// stream is closed.
    #[must_use]
    pub fn in_whole_characters(mut self) -> Self {
        self.whole_characters = true;
        self
    }

    /// Where the reader is.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.reader.stream.offset(self.at)
    }

    /// What it has still to read.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        Backlog {
            stream: Arc::clone(&self.reader.stream),
            at: Arc::new(AtomicU64::new(self.at)),
        }
    }

    /// Which stream it reads.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.reader.stream.identity()
    }

    /// How that stream is treated.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.reader.stream.content_type.kind()
    }

    /// The stream's content type, as given.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.reader.stream.content_type.as_str()
    }

    /// How long the stream lives.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.reader.stream.lifetime()
    }

    /// Whether the reader has everything that is there now, and whether that is so for ever.
    #[must_use]
    pub fn caught_up(&self) -> (bool, bool) {
        let snapshot = self.reader.stream.snapshot();
        self.caught_up_with(&snapshot)
    }

    fn caught_up_with(&self, snapshot: &Snapshot) -> (bool, bool) {
        let has_all = self.at >= snapshot.tail;
        (has_all || self.held_to >= snapshot.tail, has_all && snapshot.closed)
    }

    /// The content after the reader's position, and whether an append that ends inside of a
    /// character is held back from it. `None`: there is nothing else.
    async fn chunk(&self, now: &Snapshot) -> Result<(Option<Arc<Chunk>>, bool), ReadError> {
        let stream = &self.reader.stream;
        let is_last = |chunk: &Chunk| chunk.end.position >= now.tail;
        let recent = stream.recent(self.at);
        let chunk = match recent.filter(|chunk| chunk.torn().is_none() || is_last(chunk)) {
            Some(chunk) => chunk,
            None => self.engine.chunk(stream, self.at, now.tail).await?,
        };
        match chunk.torn() {
            Some((end, len)) if self.whole_characters && is_last(&chunk) && !now.closed => {
                if end == self.at {
                    return Ok((None, true));
                }
                let sooner = async { Ok(Arc::new(stream.chunk(self.at, end, chunk.stored().slice(..len)))) };
                let key = (stream.id, self.at, end);
                let sooner: Result<_, ReadError> = self.engine.shared.chunks.get_or_load(&key, sooner).await;
                Ok((Some(sooner?), true))
            }
            _ => Ok((Some(chunk), false)),
        }
    }

    /// Waits for what comes next. Safe to drop and call again.
    ///
    /// # Errors
    /// When the store cannot be read, or no longer keeps what comes next.
    pub async fn next(&mut self) -> Result<Event, ReadError> {
        loop {
            let stream = &self.reader.stream;
            let mut woken = std::pin::pin!(stream.wake().notified());
            // Registered before looking, so that nothing published in between is missed.
            woken.as_mut().enable();
            let snapshot = stream.snapshot();
            if let Some(gone) = snapshot.gone {
                tracing::debug!(stream = %stream.name, soft = gone == Gone::SoftDeleted, "ended under a reader");
                return Ok(Event::Gone {
                    softly: gone == Gone::SoftDeleted,
                });
            }
            if self.at_beginning {
                self.at = self.at.max(snapshot.earliest);
            }
            if self.at < snapshot.earliest {
                return Err(ReadError::GivenUp {
                    earliest: stream.offset(snapshot.earliest),
                });
            }
            if self.at < snapshot.tail {
                let (chunk, holds_back) = match self.chunk(&snapshot).await {
                    Err(ReadError::NotFound) => return Ok(Event::Gone { softly: false }),
                    Err(ReadError::GivenUp { .. }) if self.at_beginning => continue,
                    read => read?,
                };
                let was_held_to = self.held_to;
                if holds_back {
                    self.held_to = snapshot.tail;
                }
                let Some(chunk) = chunk else {
                    if was_held_to < snapshot.tail {
                        return Ok(Event::HeldBack);
                    }
                    woken.await;
                    continue;
                };
                (self.at, self.at_beginning) = (chunk.end.position, false);
                let (up_to_date, closed) = self.caught_up_with(&snapshot);
                return Ok(Event::Chunk {
                    chunk,
                    up_to_date,
                    closed,
                });
            }
            if snapshot.closed {
                return Ok(Event::Closed);
            }
            woken.await;
        }
    }
}

impl Reader {
    pub(super) fn new(stream: Arc<Stream>, clock: Clock) -> Self {
        stream.enter();
        Self { stream, clock }
    }

    pub(super) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stream.touch(self.clock.millis());
        self.stream.leave();
    }
}
