//! Fresh reads. All that wait share one call of the store: while one is under way, the next gather.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    Sharing,
    waiting::{Answer, Gatherer, Waiting},
};
use crate::{
    engine::{
        cache::{ReadTicket, Refreshed},
        errors::Unavailable,
    },
    protocol::StreamName,
    storage::{Lookup, StorageError},
};

type Found = Result<Refreshed, StorageError>;

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
        let mut end = End {
            gatherer: &self.gatherer,
            has_answered: false,
        };
        loop {
            let page = self.gatherer.0.lock().take();
            let Some(page) = page else {
                end.has_answered = true;
                return;
            };
            let (names, waiters): (Vec<_>, Vec<_>) = page.into_iter().unzip();
            let found = self.refresh_page(&names).await.map_err(Unavailable::from);
            let found = found.map(|found| found.into_iter().map(|found| Ok(found?)).collect::<Vec<Answer>>());
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

    /// Reads at most [`MAX_REFRESHED`] streams from the store, and makes the cache agree. A stream that
    /// is damaged fails alone.
    async fn refresh_page(&self, names: &[StreamName]) -> Result<Vec<Found>, StorageError> {
        let ticket = self.ticket()?;
        let stored = self.store()?.refresh_async(names).await?;
        self.take_over(names, stored, ticket)
    }

    /// As [`Self::refresh_page`], but blocks as the store does.
    pub(super) fn refresh_now(&self, names: &[StreamName]) -> Result<Vec<Found>, StorageError> {
        let ticket = self.ticket()?;
        let stored = self.store()?.refresh(names)?;
        self.take_over(names, stored, ticket)
    }

    fn ticket(&self) -> Result<ReadTicket, StorageError> {
        self.notice_history()?;
        Ok(self.cache.ticket())
    }

    fn take_over(
        &self,
        names: &[StreamName],
        stored: Vec<Lookup>,
        ticket: ReadTicket,
    ) -> Result<Vec<Found>, StorageError> {
        // What was read may be of another history than what is in memory.
        self.notice_history()?;
        let now = self.clock.millis();
        let pairs = names.iter().zip(stored);
        Ok(pairs
            .map(|(name, stored)| Ok(self.cache.refreshed(name, stored?, ticket, now)))
            .collect())
    }
}

/// Refuses those who wait when a call panics, or its runtime ends; the next read begins another task.
struct End<'g> {
    gatherer: &'g Gatherer,
    has_answered: bool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        if !self.has_answered {
            *self.gatherer.0.lock() = Waiting::default();
        }
    }
}
