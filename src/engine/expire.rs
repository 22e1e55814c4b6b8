//! The sweeper's commands: end a stream or trim it, and store when it was last used.

use std::{sync::Arc, time::Duration};

use super::{
    Engine, command::Command, delete, errors::Unavailable, sharing::Followed, stream::Stream, transaction::Transaction,
    trim,
};
use crate::protocol::{Lifetime, Millis, StreamName};

/// Longest wait of a read for the store to take that the stream was used.
const MAX_TOUCH_WAIT: Duration = Duration::from_secs(1);

/// Deletes a stream that has expired; trims one that has not, and schedules the next look.
pub(super) struct Expire {
    pub(super) name: StreamName,
}

impl Command for Expire {
    type Reply = Result<(), Unavailable>;

    fn name(&self) -> Option<&StreamName> {
        Some(&self.name)
    }

    fn stage(&self, tx: &mut Transaction<'_>) -> Self::Reply {
        let Some(slot) = tx.find(&self.name)? else {
            return Ok(());
        };
        let now = tx.context.now;
        let staged = tx.get_mut(slot);
        if staged.gone.is_some() {
            return Ok(());
        }
        if staged.stream.expired(now) {
            return delete::remove(tx, slot);
        }
        if staged.stream.has_readers() {
            staged.stream.touch(now);
        }
        staged.flush_access_time();
        trim::sweep(tx, slot);
        tx.get_mut(slot).update_due();
        Ok(())
    }
}

/// Stores when a stream was last used.
pub(super) struct Touch {
    pub(super) stream: Arc<Stream>,
}

impl Command for Touch {
    type Reply = ();

    fn stage(&self, tx: &mut Transaction<'_>) {
        let slot = tx.stage(&self.stream);
        if tx.get(slot).gone.is_none() {
            tx.get_mut(slot).flush_access_time();
        }
    }
}

impl Drop for Touch {
    /// Releases the claim of [`Engine::touch`], whether or not the command was committed.
    fn drop(&mut self) {
        self.stream.finish_flush();
    }
}

impl Engine {
    /// Restarts a sliding lifetime (section 5.1, `Stream-TTL`). In a shared store, the use is stored
    /// by the time this returns if the other servers must know of it, unless the store takes no
    /// writes: it is stored once it does.
    pub(super) async fn touch(&self, stream: &Arc<Stream>, now: Millis) {
        if !matches!(stream.lifetime(), Lifetime::Ttl(_)) {
            return;
        }
        stream.touch(now);
        let lifetimes = stream.origin().lifetimes;
        if !lifetimes.needs_flush(&stream.record(), now) {
            return;
        }
        let touch = || Touch {
            stream: Arc::clone(stream),
        };
        if lifetimes.are_shared() {
            let stored = tokio::time::timeout(MAX_TOUCH_WAIT, Box::pin(self.submit(touch()))).await;
            // The committer logs why.
            if !matches!(stored, Ok(Ok(()))) {
                tracing::debug!(stream = %stream.name, "a read goes on although the use could not be stored");
            }
        } else if stream.claim_flush() {
            self.send(touch());
        }
    }

    /// Notes that a stream of a shared store is in use, and stores it if the other servers must know of it.
    pub(super) fn note_use(&self, stream: &Arc<Stream>) {
        if !matches!(stream.lifetime(), Lifetime::Ttl(_)) {
            return;
        }
        stream.touch(self.shared.clock.millis());
        if stream.has_unflushed_access_time() && stream.claim_flush() {
            self.send(Touch {
                stream: Arc::clone(stream),
            });
        }
    }

    /// Has a stream's use noted until the guard is dropped, if its lifetime needs that: other servers
    /// do not see this one's readers.
    pub(super) fn keep_alive(&self, stream: &Arc<Stream>) -> Option<Followed> {
        let sharing = self.shared.sharing.as_ref()?;
        matches!(stream.lifetime(), Lifetime::Ttl(_)).then(|| sharing.follow(Arc::clone(stream)))
    }
}
