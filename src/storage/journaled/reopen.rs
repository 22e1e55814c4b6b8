//! Reopening the index: redb refuses to continue after an I/O error.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{
    Indexer, JournaledStore, Writer,
    view::{CheckError, View},
    write::index_error,
};
use crate::storage::{
    CommitError, StorageError,
    index::{
        Snapshot,
        schema::{needs_reopen, storage_error},
    },
};

impl JournaledStore {
    /// Runs `read` on the current view.
    pub(super) fn with_view<T>(
        &self,
        context: &str,
        read: impl Fn(&View) -> Result<T, redb::Error>,
    ) -> Result<T, StorageError> {
        self.retry_after_reopen(context, || {
            let view = self.view.read();
            (read(&view), view.generation)
        })
    }

    /// Runs `read`, which also returns the generation of the view that it used. If the index has to
    /// be reopened, runs it again.
    pub(super) fn retry_after_reopen<T>(
        &self,
        context: &str,
        read: impl Fn() -> (Result<T, redb::Error>, u64),
    ) -> Result<T, StorageError> {
        let (error, generation) = match read() {
            (Ok(done), _) => return Ok(done),
            (Err(error), generation) => (error, generation),
        };
        if needs_reopen(&error) && self.reopen(&mut self.indexer.lock(), generation).is_ok() {
            return read().0.map_err(|error| storage_error(context, error));
        }
        Err(storage_error(context, error))
    }

    /// [`Self::with_view`] for the holder of the writer, which is unlocked while the index is reopened.
    pub(super) fn with_locked_view<T, E: From<CommitError> + From<StorageError>>(
        &self,
        writer: &mut MutexGuard<'_, Writer>,
        read: impl Fn(&View) -> Result<T, CheckError<E>>,
    ) -> Result<T, E> {
        let (done, generation) = {
            let view = self.view.read();
            (read(&view), view.generation)
        };
        let done = match done {
            Err(CheckError::Index(error)) if needs_reopen(&error) => {
                MutexGuard::unlocked(writer, || self.reopen(&mut self.indexer.lock(), generation))?;
                read(&self.view.read())
            }
            done => done,
        };
        done.map_err(|error| match error {
            CheckError::Refused(refused) => refused,
            CheckError::Index(error) => index_error("reading the index", error).into(),
        })
    }

    /// Reopens the index, unless that has happened since `generation`.
    pub(super) fn reopen(&self, indexer: &mut Indexer, generation: u64) -> Result<(), StorageError> {
        if self.view.read().generation != generation && indexer.db.is_some() {
            return Ok(());
        }
        indexer.db = None;
        let (db, totals) = self.index.open()?;
        let index = Snapshot::take(&db).map_err(|error| storage_error("reading the index", error))?;
        tracing::warn!("reopened the index after an I/O error");
        let mut view = self.view.write();
        if totals.applied != indexer.totals.applied {
            // A checkpoint that was reported as failed did commit.
            match view.frozen.take() {
                Some(frozen) if frozen.totals.applied == totals.applied => {}
                frozen => {
                    view.frozen = frozen;
                    return Err(StorageError::Corrupt(format!(
                        "the index ends with record {} of the journal instead of {}",
                        totals.applied, indexer.totals.applied
                    )));
                }
            }
        }
        view.generation += 1;
        view.index = Arc::new(index);
        indexer.totals = totals;
        indexer.db = Some(db);
        Ok(())
    }
}
