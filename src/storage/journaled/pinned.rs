//! A store pinned at one moment, to be checked or copied while it is in use.

use std::sync::Arc;

use super::JournaledStore;
use crate::storage::{
    CommitError, StorageError, StreamId,
    index::{Snapshot, Totals},
};

/// The store as of one moment. Reclaiming is suspended while it exists.
pub(super) struct PinnedStore<'s> {
    pub(super) store: &'s JournaledStore,
    pub(super) index: Arc<Snapshot>,
    pub(super) totals: Totals,
    /// Greater than every id.
    pub(super) next_id: StreamId,
}

impl Drop for PinnedStore<'_> {
    fn drop(&mut self) {
        self.store.indexer.lock().copies -= 1;
    }
}

impl JournaledStore {
    pub(super) fn pin(&self) -> Result<PinnedStore<'_>, StorageError> {
        let mut indexer = self.indexer.lock();
        self.checkpoint(&mut indexer).map_err(write_error)?;
        indexer.copies += 1;
        // Not in one expression, which would lock the writer while the view is locked.
        let index = Arc::clone(&self.view.read().index);
        let next_id = self.writer.lock().next_id;
        Ok(PinnedStore {
            store: self,
            index,
            totals: indexer.totals,
            next_id,
        })
    }

    /// Closes the store without a final checkpoint.
    pub(crate) fn discard(self) {
        self.indexer.lock().discarded = true;
    }
}

pub(super) fn write_error(error: CommitError) -> StorageError {
    match error {
        CommitError::Storage(error) => error,
        CommitError::Full(what) => StorageError::NoSpace(what),
        error @ (CommitError::Damaged { .. } | CommitError::Unknown(_)) => StorageError::Malformed {
            what: "copying a stream".to_owned(),
            source: error.into(),
        },
    }
}
