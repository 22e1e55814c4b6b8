//! Live reads: waiting for what comes next (sections 5.7 and 5.8).

use std::sync::Arc;

use super::{
    Engine,
    chunk::Chunk,
    errors::ReadError,
    read::{ends_inside_character, resolve},
    stream::{Gone, Identity, Stream},
};
use crate::{
    clock,
    protocol::{Kind, ReadFrom, StreamName},
    storage::{Lifetime, Position},
};

/// A reader of a stream that waits at its end. It costs nothing while nothing happens.
pub struct Follower {
    engine: Engine,
    reader: Reader,
    at: Position,
    /// Nothing was read yet, and it may be read from wherever the stream begins.
    at_beginning: bool,
    /// A character of text is not handed out before its last byte is there.
    whole_characters: bool,
}

/// Counts as a reader of a stream for as long as it exists.
pub(super) struct Reader(Arc<Stream>);

/// What a live reader gets to see.
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
    /// The reader has everything, and the stream is closed.
    Closed,
    /// The stream is not there any more.
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
        self.touch(&stream, clock::now_millis());
        let reader = Reader::new(stream);
        let snapshot = reader.0.snapshot();
        let at = resolve(from, &snapshot)?;
        let follower = Follower {
            engine: self.clone(),
            reader,
            at,
            at_beginning: from == ReadFrom::Beginning,
            whole_characters: false,
        };
        // A position that is none is refused here, where it can still be said with a status.
        // What was read for that is what the reader gets first.
        if matches!(from, ReadFrom::At(_)) && follower.kind() == Kind::Json {
            follower.engine.chunk(&follower.reader.0, at, snapshot.tail).await?;
        }
        Ok(follower)
    }
}

impl Follower {
    /// Holds back text that ends inside a character until the rest of the character is there,
    /// or the stream is closed without it.
    #[must_use]
    pub fn with_whole_characters(mut self) -> Self {
        self.whole_characters = self.kind() == Kind::Text;
        self
    }

    /// Whether a chunk's text ends inside a character, and that matters to the reader.
    fn is_torn(&self, chunk: &Chunk) -> bool {
        self.whole_characters && ends_inside_character(&chunk.body())
    }

    /// Where the reader is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.at
    }

    /// Which stream it reads.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.reader.0.identity()
    }

    /// How that stream is treated.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.reader.0.content_type.kind()
    }

    /// The stream's content type, as given.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.reader.0.content_type.as_str()
    }

    /// How long the stream lives.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.reader.0.lifetime()
    }

    /// Whether the reader has everything that is there now, and whether that is so for ever.
    #[must_use]
    pub fn caught_up(&self) -> (bool, bool) {
        let snapshot = self.reader.0.snapshot();
        let caught_up = self.at >= snapshot.tail;
        (caught_up, caught_up && snapshot.closed)
    }

    /// Waits for what comes next. Safe to drop and call again.
    ///
    /// # Errors
    /// When the store cannot be read, or no longer keeps what comes next.
    pub async fn next(&mut self) -> Result<Event, ReadError> {
        loop {
            let stream = &self.reader.0;
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
                    earliest: snapshot.earliest,
                });
            }
            if self.at < snapshot.tail {
                let chunk = match stream.recent(self.at).filter(|chunk| !self.is_torn(chunk)) {
                    Some(chunk) => chunk,
                    None => match self.engine.chunk(stream, self.at, snapshot.tail).await {
                        Err(ReadError::NotFound) => return Ok(Event::Gone { softly: false }),
                        Err(ReadError::GivenUp { .. }) if self.at_beginning => continue,
                        read => read?,
                    },
                };
                let up_to_date = chunk.end >= snapshot.tail;
                if !up_to_date || snapshot.closed || !self.is_torn(&chunk) {
                    (self.at, self.at_beginning) = (chunk.end, false);
                    return Ok(Event::Chunk {
                        chunk,
                        up_to_date,
                        closed: up_to_date && snapshot.closed,
                    });
                }
            }
            if snapshot.closed {
                return Ok(Event::Closed);
            }
            woken.await;
        }
    }
}

impl Reader {
    pub(super) fn new(stream: Arc<Stream>) -> Self {
        stream.enter();
        Self(stream)
    }

    pub(super) fn stream(&self) -> &Arc<Stream> {
        &self.0
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.touch(clock::now_millis());
        self.0.leave();
    }
}
