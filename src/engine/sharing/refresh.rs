//! Fresh reads. All that wait share one call of the store: while one is under way, the next gather.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Sharing, waiting::Answer};
use crate::{
    engine::{cache::Refreshed, errors::Unavailable},
    protocol::StreamName,
    storage::StorageError,
};

#[cfg(test)]
impl Sharing {
    /// How many reads wait for the next call.
    pub(in crate::engine) fn waiting(&self) -> usize {
        self.gatherer.0.lock().waiters.values().map(Vec::len).sum()
    }
}

impl Sharing {
    /// Waits for a call that begins after this one.
    pub(super) async fn gather(self: &Arc<Self>, name: &StreamName) -> Answer {
        let (waiter, answer) = oneshot::channel();
        let must_start = self.gatherer.0.lock().add(name, waiter)?;
        if must_start {
            tokio::spawn(Arc::clone(self).answer_all());
        }
        // A call that panicked has dropped the sender.
        answer.await.unwrap_or(Err(Unavailable::Stopping))
    }

    async fn answer_all(self: Arc<Self>) {
        loop {
            let page = self.gatherer.0.lock().take();
            let Some(page) = page else { return };
            let (names, waiters): (Vec<_>, Vec<_>) = page.into_iter().unzip();
            let sharing = Arc::clone(&self);
            let read = tokio::task::spawn_blocking(move || sharing.refresh_now(&names));
            let found: Result<Vec<Answer>, Unavailable> = match read.await {
                Ok(Ok(found)) => Ok(found.into_iter().map(|found| Ok(found?)).collect()),
                Ok(Err(error)) => Err(error.into()),
                Err(_) => Err(Unavailable::Stopping),
            };
            for (index, waiter) in waiters
                .into_iter()
                .enumerate()
                .flat_map(|(index, waiters)| waiters.into_iter().map(move |waiter| (index, waiter)))
            {
                let answer = match &found {
                    Ok(found) => found.get(index).cloned().unwrap_or(Ok(Refreshed::Outdated)),
                    Err(error) => Err(error.clone()),
                };
                // The caller may be gone.
                let _ = waiter.send(answer);
            }
        }
    }

    /// Reads at most [`MAX_REFRESHED`] streams from the store, and makes the cache agree. Blocks as
    /// the store does. A stream that is damaged fails alone.
    pub(super) fn refresh_now(
        &self,
        names: &[StreamName],
    ) -> Result<Vec<Result<Refreshed, StorageError>>, StorageError> {
        self.notice_history()?;
        let ticket = self.cache.ticket();
        let stored = self.store()?.refresh(names)?;
        // What was read may be of another history than what is in memory.
        self.notice_history()?;
        let now = self.clock.millis();
        let pairs = names.iter().zip(stored);
        Ok(pairs
            .map(|(name, stored)| Ok(self.cache.refreshed(name, stored?, ticket, now)))
            .collect())
    }
}
