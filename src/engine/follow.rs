//! Live reads: waiting for what comes next (sections 5.7 and 5.8).

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::{
    Engine,
    chunk::Chunk,
    errors::Unavailable,
    read_error::ReadError,
    reader::ReaderGuard,
    sharing::Followed,
    snapshot::{Gone, Identity, Snapshot},
    stream::{News, Stream},
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
    /// Boxed, because few readers ever lag: the others do without its memory.
    wait: Option<Wait>,
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

/// What a reader waits for besides a publication.
enum Wait {
    Store(Pin<Box<dyn Future<Output = Answered> + Send>>),
    /// A shared store is away: for the next try, or for a publication, which also follows an absence.
    Retry(Pin<Box<Sleep>>),
}

/// An answer of the store.
enum Answered {
    /// The next step, and the state in which it was looked for.
    Next(Snapshot, Result<Next, ReadError>),
    /// The stream in the store's new history.
    FoundAgain(Result<Followed, ReadError>),
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
        self.touch(&stream, self.shared.clock.millis()).await;
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
            wait: None,
        };
        // Reject a bad offset now, while a status can still be sent. The chunk is cached, so that
        // the reader's first read finds it.
        let has_boundaries = follower.kind() == Kind::Json || snapshot.record.framing.is_framed();
        if matches!(from, ReadFrom::At(_)) && has_boundaries {
            self.chunk(follower.reader.stream(), follower.at, snapshot.tail).await?;
        }
        if let Some(sharing) = &self.shared.sharing
            && follower.at >= snapshot.tail
        {
            Box::pin(self.note_position(sharing, follower.reader.stream(), follower.at)).await;
        }
        Ok(follower)
    }
}

impl Drop for Follower {
    /// The end of a live read is a use, of which the other servers of a shared store must know.
    fn drop(&mut self) {
        if let Some(followed) = &self.followed {
            self.engine.note_use(followed.stream());
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

    /// The bytes that the reader has left to read.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.reader.stream().backlog(self.at)
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
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same for a task that waits for other things too. It is woken for this reader's sake only
    /// by a publication: no timer, and no wait of its own.
    ///
    /// # Errors
    /// See [`Follower::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, ReadError>> {
        loop {
            match &mut self.wait {
                None => {}
                Some(Wait::Store(answer)) => {
                    let answered = ready!(answer.as_mut().poll(cx));
                    self.wait = None;
                    let event = match answered {
                        Answered::Next(snapshot, next) => self.step(&snapshot, next),
                        Answered::FoundAgain(found) => self.go_on_in(found),
                    };
                    match event {
                        Some(event) => return Poll::Ready(event),
                        None => continue,
                    }
                }
                Some(Wait::Retry(timer)) => {
                    if timer.as_mut().poll(cx).is_pending() {
                        ready!(self.reader.poll_published(cx));
                    }
                    self.wait = None;
                }
            }
            let News { snapshot, recent } = ready!(self.reader.poll_news(self.at, self.held_back_at, cx));
            if self.at_beginning {
                self.at = self.at.max(snapshot.earliest());
            }
            if snapshot.gone == Some(Gone::Outdated) {
                self.wait = Some(Wait::Store(Box::pin(self.find_again())));
                continue;
            }
            if let Some(end) = self.end_of(&snapshot)? {
                return Poll::Ready(Ok(end));
            }
            if self.at >= snapshot.tail {
                continue;
            }
            match recent.filter(|chunk| chunk.start.position == self.at && chunk.split_character().is_none()) {
                Some(chunk) => return Poll::Ready(Ok(self.advance(&snapshot, chunk, false))),
                None => self.wait = Some(Wait::Store(Box::pin(self.load(snapshot)))),
            }
        }
    }

    fn retry_later(&mut self) {
        self.reader.withdraw();
        self.wait = Some(Wait::Retry(Box::pin(sleep(AWAY_RETRY_INTERVAL))));
    }

    /// Looks for the stream in the store's new history.
    fn find_again(&self) -> impl Future<Output = Answered> + Send + use<> {
        let (engine, old, at) = (self.engine.clone(), Arc::clone(self.reader.stream()), self.at);
        async move { Answered::FoundAgain(engine.follow_again(&old, at).await) }
    }

    /// Goes on with the stream in the store's new history. `None`: nothing has happened.
    fn go_on_in(&mut self, found: Result<Followed, ReadError>) -> Option<Result<Event, ReadError>> {
        let followed = match found {
            Ok(followed) if followed.stream().id == self.reader.stream().id => followed,
            Ok(_) | Err(ReadError::NotFound) => return Some(Ok(Event::Gone { softly: false })),
            Err(ReadError::Gone) => return Some(Ok(Event::Gone { softly: true })),
            Err(ReadError::Unavailable(Unavailable::Away(_) | Unavailable::Raced)) => {
                self.retry_later();
                return None;
            }
            Err(error) => return Some(Err(error)),
        };
        self.reader = ReaderGuard::new(Arc::clone(followed.stream()), self.engine.shared.clock.clone());
        self.followed = Some(followed);
        None
    }

    /// What a load means to the reader; `None`: look again.
    fn step(&mut self, snapshot: &Snapshot, next: Result<Next, ReadError>) -> Option<Result<Event, ReadError>> {
        match next {
            Ok(Next::Chunk { chunk, holds_back }) => Some(Ok(self.advance(snapshot, chunk, holds_back))),
            Ok(Next::HeldBack) if self.held_back_at < snapshot.tail => {
                self.held_back_at = snapshot.tail;
                Some(Ok(Event::HeldBack))
            }
            Ok(Next::HeldBack) => None,
            Err(ReadError::NotFound) => Some(Ok(Event::Gone { softly: false })),
            // The stream was trimmed meanwhile and begins later.
            Err(ReadError::Trimmed { .. }) if self.at_beginning => None,
            // The store has another history now, in which the stream is looked for.
            Err(ReadError::Unavailable(Unavailable::Raced)) if self.reader.stream().gone().is_some() => None,
            Err(ReadError::Unavailable(Unavailable::Raced | Unavailable::Away(_))) => {
                self.retry_later();
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn advance(&mut self, snapshot: &Snapshot, chunk: Arc<Chunk>, holds_back: bool) -> Event {
        (self.at, self.at_beginning) = (chunk.end.position, false);
        if holds_back {
            self.held_back_at = snapshot.tail;
        }
        let ReadState { up_to_date, closed } = self.state_in(snapshot);
        Event::Chunk {
            chunk,
            up_to_date,
            closed,
        }
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

    /// Reads on where no shared chunk fits.
    fn load(&self, snapshot: Snapshot) -> impl Future<Output = Answered> + Send + use<> {
        let load = Load {
            engine: self.engine.clone(),
            stream: Arc::clone(self.reader.stream()),
            at: self.at,
            whole_characters: self.whole_characters,
        };
        async move {
            let next = load.read_next(&snapshot).await;
            Answered::Next(snapshot, next)
        }
    }
}

/// A step that may have to wait for the store.
struct Load {
    engine: Engine,
    stream: Arc<Stream>,
    at: Position,
    whole_characters: bool,
}

impl Load {
    async fn read_next(&self, snapshot: &Snapshot) -> Result<Next, ReadError> {
        let stream = &self.stream;
        let is_last = |chunk: &Chunk| chunk.end.position >= snapshot.tail;
        let recent = stream.recent(self.at);
        let chunk = match recent.filter(|chunk| chunk.split_character().is_none() || is_last(chunk)) {
            Some(chunk) => chunk,
            None => {
                let chunk = self.engine.chunk(stream, self.at, snapshot.tail).await?;
                stream.note_read(&chunk);
                chunk
            }
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
