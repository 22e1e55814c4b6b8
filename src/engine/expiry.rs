//! Lifetimes: streams end by themselves, without a request that comes by.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Engine, Shared,
    errors::Unavailable,
    request::Command,
    stream::{Stream, deadline},
    transaction::{Staged, Transaction},
};
use crate::{
    log_throttle::LogThrottle,
    protocol::Lifetime,
    protocol::{Millis, StreamName},
};

/// How often due streams are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);
/// How many are taken at once.
const SWEEP_PAGE: usize = 256;
/// A sliding lifetime is written down again when it has moved by one part in so many.
const TOUCH_FRACTION: u64 = 8;
const MIN_TOUCH_MILLIS: Millis = 1_000;

/// Looks for streams whose time is over, and forgets those that nobody uses, for as long
/// as the engine lives.
pub(super) async fn sweep(engine: Weak<Shared>, stopped: CancellationToken) {
    let failures = LogThrottle::default();
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopped.cancelled() => return,
        }
        let Some(shared) = engine.upgrade() else { return };
        let engine = Engine { shared };
        if let Err(error) = engine.expire_due().await
            && let Some(suppressed) = failures.allow("sweep")
        {
            tracing::warn!(%error, suppressed, "could not look for expired streams; trying again");
        }
        engine.evict_idle();
    }
}

impl Engine {
    async fn expire_due(&self) -> Result<(), Unavailable> {
        loop {
            let (storage, now) = (Arc::clone(&self.shared.storage), self.shared.clock.millis());
            let due = self.blocking(move || storage.due(now, SWEEP_PAGE)).await??;
            let more = due.len() == SWEEP_PAGE;
            // All at once, so that they share a commit.
            let waiting: Vec<_> = due
                .into_iter()
                .map(|name| self.enqueue(Command::Expire { name }))
                .collect();
            for outcome in waiting {
                Self::outcome(outcome).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Evicts idle streams. Access times that the store does not know are written down first.
    fn evict_idle(&self) {
        for stream in self.shared.cache.evict_idle(self.shared.clock.millis()) {
            self.send(Command::Touch { stream });
        }
    }

    /// Restarts a sliding lifetime (section 5.1, `Stream-TTL`).
    pub(super) fn touch(&self, stream: &Arc<Stream>, now: Millis) {
        let Lifetime::Ttl(secs) = stream.lifetime() else { return };
        stream.touch(now);
        let record = stream.record();
        if now.saturating_sub(record.touched_at) >= touch_step(secs) && stream.claim_flush() {
            self.send(Command::Touch {
                stream: Arc::clone(stream),
            });
        }
    }
}

fn touch_step(ttl_secs: u64) -> Millis {
    (ttl_secs.saturating_mul(1000) / TOUCH_FRACTION).max(MIN_TOUCH_MILLIS)
}

/// Ends a stream whose time is over; otherwise notes when to look again.
pub(super) fn stage(tx: &mut Transaction<'_>, name: &StreamName) -> Result<(), Unavailable> {
    let Some(slot) = tx.find(name)? else { return Ok(()) };
    let now = tx.context.now;
    let staged = tx.get_mut(slot);
    if staged.gone.is_some() {
        return Ok(());
    }
    if staged.stream.expired(now) {
        return super::delete::remove(tx, slot);
    }
    if staged.stream.has_readers() {
        staged.stream.touch(now);
    }
    write_touch(staged);
    super::retention::sweep(tx, slot);
    write_due(tx.get_mut(slot));
    Ok(())
}

pub(super) fn stage_touch(tx: &mut Transaction<'_>, stream: &Arc<Stream>) {
    stream.finish_flush();
    let slot = tx.stage(stream);
    if tx.get(slot).gone.is_none() {
        write_touch(tx.get_mut(slot));
    }
}

/// Writes an append's touch down along with it, if that is due.
pub(super) fn note_touch(staged: &mut Staged) {
    let Lifetime::Ttl(secs) = staged.stream.lifetime() else {
        return;
    };
    if staged.stream.touched_at().saturating_sub(staged.record.touched_at) >= touch_step(secs) {
        write_touch(staged);
    }
}

fn write_touch(staged: &mut Staged) {
    let touched_at = staged.stream.touched_at();
    if staged.record.touched_at != touched_at {
        staged.record_mut().touched_at = touched_at;
    }
    write_due(staged);
}

/// Notes when the sweeper has to look at a stream.
pub(super) fn write_due(staged: &mut Staged) {
    let deadline = deadline(staged.stream.lifetime(), staged.record.touched_at);
    let due_at = super::retention::due_at(&staged.record, deadline);
    if staged.record.due_at != due_at {
        staged.record_mut().due_at = due_at;
    }
}
