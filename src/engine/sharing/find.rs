//! Looking up streams of a shared store.

use std::sync::Arc;

use bytes::Bytes;

use super::{Followed, Sharing};
use crate::{
    engine::{
        Engine,
        cache::Refreshed,
        chunk::{Form, LastRead},
        errors::Unavailable,
        expire::Expire,
        load::stored_before,
        read_error::ReadError,
        snapshot::Gone,
        stream::Stream,
    },
    protocol::StreamName,
    storage::{Position, StreamId},
};

/// How often a lookup is repeated because the stream was replaced meanwhile.
const MAX_LOOKUPS: usize = 8;

/// The bytes before a waiting reader that are noted.
const MAX_NOTED: u64 = 256;

/// One reader of a stream reads for all that come meanwhile.
struct Noting<'s> {
    sharing: &'s Sharing,
    id: StreamId,
}

impl<'s> Noting<'s> {
    fn begin(sharing: &'s Sharing, id: StreamId) -> Option<Self> {
        let is_first = sharing.noting.lock().insert(id);
        is_first.then_some(Self { sharing, id })
    }
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        self.sharing.noting.lock().remove(&self.id);
    }
}

impl Engine {
    /// See [`Engine::find_fresh`].
    pub(in crate::engine) async fn find_shared(
        &self,
        sharing: &Arc<Sharing>,
        name: &StreamName,
    ) -> Result<Option<Arc<Stream>>, Unavailable> {
        for _ in 0..MAX_LOOKUPS {
            let stream = match sharing.refresh(name).await? {
                Refreshed::Found(stream) => stream,
                Refreshed::Absent => return Ok(None),
                Refreshed::Outdated => continue,
            };
            match stream.gone() {
                Some(Gone::Deleted | Gone::Outdated) => continue,
                Some(Gone::SoftDeleted) | None => {}
            }
            let now = self.shared.clock.millis();
            if stream.gone().is_none() && stream.expired(now) {
                // It has expired once that is stored: until then, another server may store a use.
                self.submit(Expire { name: name.clone() }).await??;
                continue;
            }
            stream.mark_used(now);
            return Ok(Some(stream));
        }
        Err(Unavailable::Raced)
    }

    /// A stream whose changes are announced from now on, and with every earlier change.
    pub(in crate::engine) async fn find_followed(
        &self,
        sharing: &Arc<Sharing>,
        name: &StreamName,
    ) -> Result<Followed, ReadError> {
        let mut followed = self.shared.cache.get(name).map(|stream| sharing.follow(stream));
        for _ in 0..MAX_LOOKUPS {
            let stream = self.find_readable(name).await?;
            match followed {
                Some(followed) if Arc::ptr_eq(followed.stream(), &stream) => return Ok(followed),
                // What has changed between the read and now was not announced: read again.
                _ => followed = Some(sharing.follow(stream)),
            }
        }
        Err(Unavailable::Raced.into())
    }

    /// The stream in the store's new history, for a reader that is at `at` in the old one.
    pub(in crate::engine) async fn follow_again(&self, old: &Stream, at: Position) -> Result<Followed, ReadError> {
        let Some(sharing) = &self.shared.sharing else {
            return Err(ReadError::NotFound);
        };
        let followed = self.find_followed(sharing, &old.name).await?;
        let stream = followed.stream();
        let snapshot = stream.snapshot();
        let last = old.last_read().filter(|last| stream.id == old.id && at <= last.end);
        let continues = match last {
            _ if stream.id != old.id || at <= snapshot.earliest() => return Ok(followed),
            Some(last) => self.has_again(stream, last, snapshot.tail).await?,
            // The content of this reader is unknown, so it counts as a new one.
            None => at <= snapshot.tail,
        };
        if !continues {
            return Err(ReadError::OtherLife {
                tail: snapshot.offset(snapshot.tail),
            });
        }
        match last {
            Some(last) => stream.note_last_read(last),
            None => self.note_position(sharing, stream, at).await,
        }
        Ok(followed)
    }

    /// Notes what a reader has that waits at `at`, unless it is known: if the store loses it, other bytes may be
    /// written in its place. If it cannot be read, the reader is not compared.
    pub(in crate::engine) async fn note_position(&self, sharing: &Sharing, stream: &Arc<Stream>, at: Position) {
        if at <= stream.snapshot().earliest() || stream.last_read().is_some_and(|last| at <= last.end) {
            return;
        }
        let Some(_noting) = Noting::begin(sharing, stream.id) else {
            return;
        };
        if let Ok(Some(bytes)) = self.stored_before(stream, at, MAX_NOTED).await {
            stream.note_last_read(LastRead::of_stored(&bytes, at));
        }
    }

    async fn stored_before(&self, stream: &Arc<Stream>, end: Position, most: u64) -> Result<Option<Bytes>, ReadError> {
        let stream = Arc::clone(stream);
        self.read_storage(move |storage| stored_before(storage, &stream, end, most))
            .await
    }

    /// Whether a stream has what readers of an earlier history have. That may be lost, and other bytes
    /// written in its place.
    async fn has_again(&self, stream: &Arc<Stream>, last: LastRead, tail: Position) -> Result<bool, ReadError> {
        if tail < last.end {
            return Ok(false);
        }
        if last.start < stream.snapshot().earliest() {
            // Retention has trimmed a part of it.
            return Ok(true);
        }
        if last.form == Form::Stored {
            let stored = self.stored_before(stream, last.end, last.end - last.start).await?;
            return Ok(stored.is_none_or(|bytes| last.ends_with(&bytes)));
        }
        // Readers may have been given a whole commit, which chunks divide.
        let (mut at, mut bytes) = (last.start, Vec::new());
        while at < last.end {
            let chunk = match self.chunk(stream, at, last.end).await {
                Ok(chunk) => chunk,
                Err(ReadError::InvalidOffset | ReadError::Trimmed { .. }) => return Ok(false),
                Err(error) => return Err(error),
            };
            if chunk.end.position <= at {
                return Ok(false);
            }
            at = chunk.end.position;
            bytes.extend_from_slice(chunk.last_bytes());
        }
        Ok(at == last.end && last.ends_with(&bytes))
    }
}
