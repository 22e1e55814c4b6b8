//! Live reads: waiting for what comes next (sections 5.7 and 5.8).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Engine,
    chunk::Chunk,
    errors::Unavailable,
    read_error::ReadError,
    reader::ReaderGuard,
    sharing::Followed,
    stream::{Gone, Identity, Snapshot, Stream},
};
use crate::{
    protocol::{Kind, Lifetime, Offset, ReadFrom, StreamName},
    storage::Position,
};

/// How often a live reader looks whether a shared store is back.
const AWAY_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A reader of a stream that waits at its tail. It costs nothing while nothing happens.
pub struct Follower {
    engine: Engine,
    reader: ReaderGuard,
    /// Gets other servers' changes, in a shared store.
    followed: Option<Followed>,
    at: Position,
    /// Nothing was read yet, and the reader accepts wherever the stream begins.
    at_beginning: bool,
    /// Text ends with whole characters for this reader.
    whole_characters: bool,
    /// The tail at which the reader had everything but the beginning of a character.
    held_back_at: Position,
}

/// One step of a live read.
#[derive(Debug, Clone)]
pub enum Event {
    /// More content.
    Chunk {
        /// The content.
        chunk: Arc<Chunk>,
        /// Whether the reader has everything now.
        up_to_date: bool,
        /// Whether the stream is closed, and the reader has all of it.
        closed: bool,
    },
    /// The reader has everything but an append that ends inside a character.
    HeldBack,
    /// The reader has everything, and the stream is closed.
    Closed,
    /// The stream was deleted or has expired.
    Gone {
        /// It is kept for its forks.
        softly: bool,
    },
}

/// How far a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadState {
    /// The reader has everything there is.
    pub up_to_date: bool,
    /// The stream is closed, and the reader has all of it.
    pub closed: bool,
}

/// The next step of a reader.
enum Next {
    Chunk {
        chunk: Arc<Chunk>,
        /// An append that ends inside a character follows, and is held back.
        holds_back: bool,
    },
    /// Nothing but an append that is held back.
    HeldBack,
}

/// How much a live reader has left to read, for others than the reader itself.
#[derive(Clone)]
pub struct Backlog {
    stream: Arc<Stream>,
    at: Arc<AtomicU64>,
}

impl Backlog {
    /// Records the reader's position.
    pub fn note(&self, follower: &Follower) {
        self.at.store(follower.at, Ordering::Release);
    }

    /// Bytes between the reader and the tail.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let snapshot = self.stream.snapshot();
        let at = self.at.load(Ordering::Acquire).max(snapshot.earliest());
        snapshot.tail.saturating_sub(at)
    }
}

impl Engine {
    /// Follows a stream from a position.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn follow(&self, name: &StreamName, from: ReadFrom) -> Result<Follower, ReadError> {
        let (stream, followed) = match &self.shared.sharing {
            None => (self.find_readable(name).await?, None),
            Some(sharing) => {
                let followed = Box::pin(self.find_followed(sharing, name)).await?;
                (Arc::clone(followed.stream()), Some(followed))
            }
        };
        self.touch(&stream, self.shared.clock.millis()).await?;
        let reader = ReaderGuard::new(stream, self.shared.clock.clone());
        let snapshot = reader.stream().snapshot();
        let follower = Follower {
            engine: self.clone(),
            at: snapshot.resolve(from)?,
            reader,
            followed,
            at_beginning: from == ReadFrom::Beginning,
            whole_characters: false,
            held_back_at: 0,
        };
        // Reject a bad offset now, while a status can still be sent. The chunk is cached, so that
        // the reader's first read finds it.
        let has_boundaries = follower.kind() == Kind::Json || snapshot.record.framing.is_framed();
        if matches!(from, ReadFrom::At(_)) && has_boundaries {
            self.chunk(follower.reader.stream(), follower.at, snapshot.tail).await?;
        }
        Ok(follower)
    }
}

/// Waits for a publication, which also follows an absence of the store, or for the next try.
async fn wait_for_store(published: impl Future<Output = ()>) {
    tokio::select! {
        () = published => {}
        () = tokio::time::sleep(AWAY_RETRY_INTERVAL) => {}
    }
}

impl Drop for Follower {
    /// The end of a live read is a use, of which the other servers of a shared store must know.
    fn drop(&mut self) {
        let Some(followed) = &self.followed else { return };
        let stream = followed.stream();
        if matches!(stream.lifetime(), Lifetime::Ttl(_)) {
            stream.touch(self.engine.shared.clock.millis());
            self.engine.store_touch(Arc::clone(stream));
        }
    }
}

impl Follower {
    /// Holds text that ends inside a character back until the character is complete or the
    /// stream is closed.
    #[must_use]
    pub fn in_whole_characters(mut self) -> Self {
        self.whole_characters = true;
        self
    }

    /// The reader's position.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.reader.stream().offset(self.at)
    }

    /// How much the reader has left to read.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        Backlog {
            stream: Arc::clone(self.reader.stream()),
            at: Arc::new(AtomicU64::new(self.at)),
        }
    }

    /// The stream that is read.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.reader.stream().identity()
    }

    /// How the stream is treated.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.reader.stream().content_type.kind()
    }

    /// The stream's content type, as given.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.reader.stream().content_type.as_str()
    }

    /// How long the stream lives.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.reader.stream().lifetime()
    }

    /// How far the reader is.
    #[must_use]
    pub fn state(&self) -> ReadState {
        self.state_in(&self.reader.stream().snapshot())
    }

    fn state_in(&self, snapshot: &Snapshot) -> ReadState {
        let has_all = self.at >= snapshot.tail;
        ReadState {
            up_to_date: has_all || self.held_back_at >= snapshot.tail,
            closed: has_all && snapshot.is_closed(),
        }
    }

    /// Waits for what comes next. Safe to drop and call again.
    ///
    /// # Errors
    /// When the store cannot be read, or no longer has what comes next.
    pub async fn next(&mut self) -> Result<Event, ReadError> {
        loop {
            // Made before looking, so that nothing published in between is missed: `notify_waiters`
            // reaches every future that exists. Most steps find something and never register it.
            let woken = self.reader.stream().wake().notified();
            let snapshot = self.reader.stream().snapshot();
            if self.at_beginning {
                self.at = self.at.max(snapshot.earliest());
            }
            if snapshot.gone == Some(Gone::Outdated) {
                drop(woken);
                match self.find_again().await? {
                    Some(event) => return Ok(event),
                    None => continue,
                }
            }
            if let Some(end) = self.end_of(&snapshot)? {
                return Ok(end);
            }
            if self.at >= snapshot.tail {
                woken.await;
                continue;
            }
            match self.read_next(&snapshot).await {
                Ok(Next::Chunk { chunk, holds_back }) => {
                    (self.at, self.at_beginning) = (chunk.end.position, false);
                    if holds_back {
                        self.held_back_at = snapshot.tail;
                    }
                    let ReadState { up_to_date, closed } = self.state_in(&snapshot);
                    return Ok(Event::Chunk {
                        chunk,
                        up_to_date,
                        closed,
                    });
                }
                Ok(Next::HeldBack) if self.held_back_at < snapshot.tail => {
                    self.held_back_at = snapshot.tail;
                    return Ok(Event::HeldBack);
                }
                Ok(Next::HeldBack) => woken.await,
                Err(ReadError::NotFound) => return Ok(Event::Gone { softly: false }),
                // The stream was trimmed meanwhile and begins later.
                Err(ReadError::Trimmed { .. }) if self.at_beginning => {}
                Err(ReadError::Unavailable(Unavailable::Away(_))) => wait_for_store(woken).await,
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes on with the stream in the store's new history. `None`: nothing has happened.
    async fn find_again(&mut self) -> Result<Option<Event>, ReadError> {
        let Some(sharing) = &self.engine.shared.sharing else {
            return Ok(Some(Event::Gone { softly: false }));
        };
        let old = self.reader.stream();
        let followed = match Box::pin(self.engine.find_followed(sharing, &old.name)).await {
            Ok(followed) if followed.stream().id == old.id => followed,
            Ok(_) | Err(ReadError::NotFound) => return Ok(Some(Event::Gone { softly: false })),
            Err(ReadError::Gone) => return Ok(Some(Event::Gone { softly: true })),
            Err(ReadError::Unavailable(Unavailable::Away(_))) => {
                tokio::time::sleep(AWAY_RETRY_INTERVAL).await;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let snapshot = followed.stream().snapshot();
        if snapshot.tail < self.at {
            return Err(ReadError::OtherLife {
                tail: snapshot.offset(snapshot.tail),
            });
        }
        self.reader = ReaderGuard::new(Arc::clone(followed.stream()), self.engine.shared.clock.clone());
        self.followed = Some(followed);
        Ok(None)
    }

    /// The event after which nothing follows, if the reader is there.
    fn end_of(&self, snapshot: &Snapshot) -> Result<Option<Event>, ReadError> {
        if let Some(gone) = snapshot.gone {
            let softly = gone == Gone::SoftDeleted;
            tracing::debug!(stream = %self.reader.stream().name, soft = softly, "the stream of a live read is gone");
            return Ok(Some(Event::Gone { softly }));
        }
        if self.at < snapshot.earliest() {
            return Err(snapshot.trimmed());
        }
        Ok((self.at >= snapshot.tail && snapshot.is_closed()).then_some(Event::Closed))
    }

    async fn read_next(&self, snapshot: &Snapshot) -> Result<Next, ReadError> {
        let stream = self.reader.stream();
        let is_last = |chunk: &Chunk| chunk.end.position >= snapshot.tail;
        let recent = stream.recent(self.at);
        let chunk = match recent.filter(|chunk| chunk.split_character().is_none() || is_last(chunk)) {
            Some(chunk) => chunk,
            None => self.engine.chunk(stream, self.at, snapshot.tail).await?,
        };
        let split = chunk
            .split_character()
            .filter(|_| self.whole_characters && is_last(&chunk) && !snapshot.is_closed());
        let Some(boundary) = split else {
            return Ok(Next::Chunk {
                chunk,
                holds_back: false,
            });
        };
        if boundary.position == self.at {
            return Ok(Next::HeldBack);
        }
        let key = stream.chunk_key(self.at, boundary.position);
        let shorter = async {
            let content = chunk.stored().slice(..boundary.len);
            Ok::<_, ReadError>(Arc::new(stream.chunk(self.at, boundary.position, content)))
        };
        Ok(Next::Chunk {
            chunk: self.engine.shared.chunks.get_or_load(&key, shorter).await?,
            holds_back: true,
        })
    }
}
