//! Stores of streams: a trait, its records and errors, and the stores themselves.
//!
//! A store applies batches of changes atomically and keeps a record and a sequence of bytes for
//! each stream. It enforces no rules: the engine validates requests, assigns positions and decides
//! what a batch holds. Protocol fields of a record (content type, lifetime, producers) are stored
//! without being interpreted.
//!
//! | module | |
//! |---|---|
//! | [`memory`] | streams in memory |
//! | [`persistent`] | `acid` and `file-*`, two configurations of the [`journaled`] store |
//! | [`journal`], [`index`], [`data_files`] | the parts of a data directory, over a [`disk`] |
//! | [`memtable`] | changes that are in the journal and not yet in the index |
//! | [`format`](mod@format) | records as they are stored on disk |
//! | [`lock`], [`locked`] | one holder for a data directory |
//! | [`tools`] | check, repair, migration and backup of a data directory |

#[cfg(test)]
pub(crate) mod contract;
mod data_files;
mod delegate;
mod disk;
mod error;
mod format;
mod index;
mod journal;
mod journaled;
pub(crate) mod lock;
pub(crate) mod locked;
pub(crate) mod memory;
mod memtable;
mod persistent;
mod record;
mod report;
mod segments;
pub(crate) mod tools;

#[cfg(any(test, fuzzing))]
pub(crate) use journal::fuzzing as fuzzing_journal;

use std::{ops::Range, path::Path};

use bytes::Bytes;

pub(crate) use self::delegate::delegate_storage;
pub use self::{
    error::StorageError,
    lock::{DirLock, Holder, LockError},
    memory::InMemoryStorage,
    persistent::{AcidStorage, FileStorage},
    record::{
        Fork, Inherited, Life, Mark, Position, ProducerState, Progress, Retention, Stored, StreamId, StreamRecord,
        Usage, WriterState,
    },
    report::{CopyProgress, StoreReport},
};
use crate::protocol::{Millis, StreamName};

/// One step of a batch. Steps apply in order.
#[derive(Debug, Clone)]
pub enum Change {
    /// Writes a record: creates the stream, or replaces what was kept of it. Where
    /// [`StreamRecord::first`] has moved, the bytes below it are given back at leisure.
    Put {
        /// Under which name.
        name: StreamName,
        /// The whole record.
        record: StreamRecord,
    },
    /// Adds bytes at the end.
    Append {
        /// Whose bytes.
        id: StreamId,
        /// The tail that this builds on; another tail there refuses the batch.
        at: Position,
        /// The bytes, in order; the pieces have no meaning of their own.
        data: Vec<Bytes>,
    },
    /// Sets where a writer stands, or forgets it.
    Writer {
        /// On which stream.
        id: StreamId,
        /// The writer.
        key: String,
        /// Its new state; `None`: it is forgotten.
        state: Option<WriterState>,
    },
    /// Forgets a stream: its record at once, its bytes and writers at leisure
    /// (see [`Storage::maintain`]).
    Remove {
        /// Its name.
        name: StreamName,
        /// Its id.
        id: StreamId,
    },
}

/// What is written together or not at all.
pub type Batch = Vec<Change>;

/// A batch was not committed; nothing of it is there.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No room: the memory limit, or the disk.
    #[error("no room left: {0}")]
    Full(String),
    /// A stream's tail is not where the batch expects it.
    #[error("the tail of stream {id} has moved to {tail}")]
    TailMoved {
        /// Which stream.
        id: StreamId,
        /// Where its tail is.
        tail: Position,
    },
    /// The store has lost acknowledged bytes of a stream, so the stream takes no appends.
    #[error("stream {id} is damaged: {what}")]
    Damaged {
        /// Which stream.
        id: StreamId,
        /// What is missing.
        what: String,
    },
    /// The store failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A store for streams.
///
/// Reads see every batch whose `commit` has returned, and either all or nothing of one that is
/// being committed. Calls may block, unless [`Storage::blocking`] says otherwise: the engine makes
/// them on blocking threads.
pub trait Storage: Send + Sync + 'static {
    /// A stream's record and tail.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError>;

    /// The states of a stream's writers by key, in no particular order. The caller bounds their
    /// number.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError>;

    /// Up to `limit` streams in the order of their keys, whose keys begin with `prefix` and are
    /// greater than `after`. `prefix` and `after` are keys ([`StreamName::key`]); the names returned
    /// are spelled as at creation.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(StreamName, Stored)>, StorageError>;

    /// Up to `limit` streams with a `due_at` of at most `now`, soonest first. Streams that are not
    /// due cost nothing.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError>;

    /// The bytes of a range, fewer if the stream ends earlier. The caller bounds the range.
    ///
    /// Below [`StreamRecord::first`] the answer is undefined. A reader that may race with trimming
    /// or deletion checks the record again afterwards.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError>;

    /// Writes a batch: all of it, as durably as this store promises, or nothing.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn commit(&self, batch: &[Change]) -> Result<(), CommitError>;

    /// Reserves `count` consecutive ids, all at least `lowest` and greater than every id reserved
    /// before, and returns the first.
    ///
    /// # Errors
    /// If the store cannot be written to.
    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError>;

    /// Performs a few milliseconds of maintenance, such as freeing the space of removed streams,
    /// and returns whether more is pending. Called by the committer when it is idle.
    ///
    /// # Errors
    /// If the store cannot be written to.
    fn maintain(&self) -> Result<bool, CommitError>;

    /// The contents of the store.
    fn usage(&self) -> Usage;

    /// Whether calls may wait for a disk or a network. A store that returns `false` is called on
    /// async workers.
    fn blocking(&self) -> bool {
        true
    }

    /// Copies the store as of this moment to a new directory that a server can start on, while
    /// reads and writes continue. `progress` is called during the copy and may cancel it.
    ///
    /// # Errors
    /// [`StorageError::Unsupported`] if the store has no directory, [`StorageError::Cancelled`],
    /// or if the store cannot be read or the target not be written. No target is left behind.
    fn backup(&self, _target: &Path, _progress: &mut CopyProgress<'_>) -> Result<StoreReport, StorageError> {
        Err(StorageError::Unsupported(
            "this store is not kept in a directory, so there is nothing to copy",
        ))
    }
}
