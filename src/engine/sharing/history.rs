//! The store has lost acknowledged changes, or may have: nothing in memory counts.

use super::{Sharing, pending::Former};
use crate::{
    protocol::StreamName,
    storage::{MAX_REFRESHED, StorageError},
};

impl Sharing {
    /// Forgets everything if the store has another history than the cache. Cheap if it has not.
    pub(in crate::engine) fn notice_history(&self) -> Result<(), StorageError> {
        let store = self.store()?;
        if store.history() == self.cache.history() {
            return Ok(());
        }
        let _alone = self.history.lock();
        let history = store.history();
        if history != self.cache.history() {
            let outdated = self.cache.drain(history);
            if !outdated.is_empty() {
                tracing::warn!(
                    streams = outdated.len(),
                    "the store has another history: after a failover or a restore, acknowledged data may be lost"
                );
            }
            self.news.compare(outdated.iter().map(Former::of).collect());
        }
        Ok(())
    }

    /// Whether what was just read from the store continues what is in memory.
    pub(super) fn check_history(&self) -> Result<(), StorageError> {
        match self.store()?.history() == self.cache.history() {
            true => Ok(()),
            false => Err(StorageError::Away("the store's history has changed".to_owned())),
        }
    }

    /// Reports the streams of which the store has less than was acknowledged. Returns those that
    /// could not be compared. Blocks as the store does.
    pub(super) fn report_losses(&self, mut former: Vec<Former>) -> (Vec<Former>, Option<StorageError>) {
        while !former.is_empty() {
            let page = former.split_off(former.len().saturating_sub(MAX_REFRESHED));
            let names: Vec<StreamName> = page.iter().map(|former| former.name.clone()).collect();
            let stored = match self.store().and_then(|store| store.refresh(&names)) {
                Ok(stored) => stored,
                Err(error) => {
                    former.extend(page);
                    return (former, Some(error));
                }
            };
            for (former, stored) in page.iter().zip(stored) {
                match stored.map(|stored| stored.filter(|stored| stored.record.id == former.id)) {
                    Err(error) => {
                        tracing::error!(stream = %former.name, %error, "a stream of the store's new history cannot be read");
                    }
                    Ok(Some(stored)) if stored.tail < former.tail => tracing::error!(
                        stream = %former.name,
                        acknowledged = former.tail,
                        kept = stored.tail,
                        "the store has lost acknowledged data of a stream"
                    ),
                    Ok(Some(_)) => {}
                    Ok(None) => tracing::error!(
                        stream = %former.name,
                        "a stream is gone from the store's new history: it was deleted, or its creation was lost"
                    ),
                }
            }
        }
        (former, None)
    }
}
