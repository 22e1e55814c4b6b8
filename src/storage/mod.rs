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
//! | `postgres` | streams in PostgreSQL, shared by any number of servers |
//! | [`memtable`] | changes that are in the journal and not yet in the index |
//! | [`format`](mod@format) | records as they are stored on disk |
//! | [`lock`], [`locked`], [`successor`] | one holder for a data directory, and the next one |
//! | [`shared`] | what a store offers that several servers share |
//! | [`tools`] | check, repair, migration and backup of a data directory |

mod config;
#[cfg(test)]
pub(crate) mod contract;
mod data_files;
mod delegate;
mod disk;
mod error;
mod format;
mod group;
mod index;
mod journal;
mod journaled;
pub(crate) mod lock;
pub(crate) mod locked;
pub(crate) mod memory;
mod memtable;
mod persistent;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod record;
mod report;
mod segments;
mod shared;
mod successor;
pub(crate) mod tools;

#[cfg(any(test, fuzzing))]
pub(crate) use journal::fuzzing as fuzzing_journal;

pub use config::{StorageConfig, StorageMode};
use std::{ops::Range, path::Path};

use bytes::Bytes;

pub(crate) use self::{
    delegate::delegate_storage,
    group::{Refused, commit_as_one},
};
pub use self::{
    error::StorageError,
    group::{Change, CommitError, Expect, Group, Landed, Verdict, Verdicts},
    lock::{DirLock, Holder, LockError},
    memory::InMemoryStorage,
    persistent::{AcidStorage, FileStorage},
    record::{
        Fork, IdMap, Inherited, Life, Mark, Position, ProducerState, Progress, Retention, Stored, StreamId,
        StreamRecord, Usage, WriterState,
    },
    report::{CopyProgress, StoreReport},
    shared::{Changed, DUTY_LEASE, Durations, Duty, Feed, Lookup, MAX_REFRESHED, SharedStore, StoreFigures},
};
use crate::protocol::{Millis, StreamName};

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

    /// Whether a stream still has this id and its bytes from `from` on, where another server may
    /// have changed that unseen. Asked after a read.
    ///
    /// # Errors
    /// If it cannot be known.
    fn is_current(&self, _name: &StreamName, _id: StreamId, _from: Position) -> Result<bool, StorageError> {
        Ok(true)
    }

    /// Writes groups, as durably as this store promises, each of them whole or not at all.
    /// A store that is not shared may write all of them or none.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError>;

    /// What servers that share this store need; `None` if it has one holder. Commits name what they
    /// were judged on only if it is shared.
    fn shared(&self) -> Option<&dyn SharedStore> {
        None
    }

    /// Reserves `count` consecutive ids, all at least `lowest` and greater than every id reserved
    /// before, and returns the first.
    ///
    /// # Errors
    /// If the store cannot be written to.
    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError>;

    /// Performs some maintenance, such as freeing the space of removed streams, and returns whether
    /// more is pending. Called once a second while there are commits, and beside them.
    ///
    /// # Errors
    /// If the store cannot be written to.
    fn maintain(&self) -> Result<bool, CommitError>;

    /// Whether maintenance should begin at once. Asked after each batch.
    fn needs_maintenance(&self) -> bool {
        false
    }

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
