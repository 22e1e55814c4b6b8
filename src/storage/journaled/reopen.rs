//! Reopening the index: redb refuses to continue after an I/O error.

use std::sync::Arc;

use super::{
    JournaledStore, Writer,
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
        if needs_reopen(&error) && self.reopen(&mut self.writer.lock(), generation).is_ok() {
            return read().0.map_err(|error| storage_error(context, error));
        }
        Err(storage_error(context, error))
    }

    /// [`Self::with_view`] for the holder of the writer.
    pub(super) fn with_locked_view<T>(
        &self,
        writer: &mut Writer,
        read: impl Fn(&View) -> Result<T, CheckError>,
    ) -> Result<T, CommitError> {
        let (done, generation) = {
            let view = self.view.read();
            (read(&view), view.generation)
        };
        let done = match done {
            Err(CheckError::Index(error)) if needs_reopen(&error) => {
                self.reopen(writer, generation)?;
                read(&self.view.read())
            }
            done => done,
        };
        done.map_err(|error| match error {
            CheckError::Refused(refused) => refused,
            CheckError::Index(error) => index_error("reading the index", error),
        })
    }

    /// Reopens the index, unless that has happened since `generation`.
    pub(super) fn reopen(&self, writer: &mut Writer, generation: u64) -> Result<(), StorageError> {
        if self.view.read().generation != generation && writer.db.is_some() {
            return Ok(());
        }
        writer.db = None;
        let (db, totals) = self.index.open()?;
        let index = Snapshot::take(&db).map_err(|error| storage_error("reading the index", error))?;
        tracing::warn!("reopened the index after an I/O error");
        let mut view = self.view.write();
        view.generation += 1;
        if totals.applied == writer.applied {
            view.index = Arc::new(index);
        } else {
            // A checkpoint that was reported as failed did commit. Replay what came after it.
            let unapplied = writer.journal.read_after(totals.applied)?;
            let mut replayed = View::new(index, &totals, view.generation);
            replayed.replay(&unapplied)?;
            *view = replayed;
            if unapplied.is_empty() {
                writer.journal.restart();
            }
        }
        writer.applied = totals.applied;
        writer.garbage = totals.garbage;
        writer.db = Some(db);
        Ok(())
    }
}
