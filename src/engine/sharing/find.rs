//! Looking up streams of a shared store.

use std::sync::Arc;

use super::{Followed, Sharing};
use crate::{
    engine::{
        Engine, cache::Refreshed, chunk::LastRead, errors::Unavailable, expire::Expire, read_error::ReadError,
        snapshot::Gone, stream::Stream,
    },
    protocol::StreamName,
    storage::Position,
};

/// How often a lookup is repeated because the stream was replaced meanwhile.
const MAX_LOOKUPS: usize = 8;

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
        let continues = match old.last_read() {
            _ if stream.id != old.id || at <= snapshot.earliest() => true,
            Some(last) if at <= last.end => self.has_again(stream, last, snapshot.tail).await?,
            // If the stream ends there, nothing was written since.
            _ => at == snapshot.tail,
        };
        if !continues {
            return Err(ReadError::OtherLife {
                tail: snapshot.offset(snapshot.tail),
            });
        }
        Ok(followed)
    }

    /// Whether a stream has what readers of an earlier history were given. That may be lost, and other bytes
    /// written in its place.
    async fn has_again(&self, stream: &Arc<Stream>, last: LastRead, tail: Position) -> Result<bool, ReadError> {
        if tail < last.end {
            return Ok(false);
        }
        // Readers may have been given a whole commit, which chunks divide.
        let (mut at, mut bytes) = (last.start.max(stream.snapshot().earliest()), Vec::new());
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
