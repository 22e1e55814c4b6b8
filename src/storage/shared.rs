//! What a store offers that several servers share, beside commits: fresh reads, news of the other
//! servers' changes, one clock, and duties.

use std::{ops::Range, sync::Weak, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::{
    error::StorageError,
    group::{CommitError, Group, Verdicts},
    record::{Position, Stored, StreamId},
};
use crate::{clock::Clock, protocol::StreamName};

/// The most streams that one call of [`SharedStore::refresh`] or [`SharedStore::read_many`] names.
pub const MAX_REFRESHED: usize = 1_000;
/// How long a server has a duty after it took or kept it.
pub const DUTY_LEASE: Duration = Duration::from_secs(5);

/// The part of a shared store that a store with one holder does not need. Calls block, as those of
/// [`Storage`](super::Storage) do, except [`SharedStore::refresh_async`]. While the store cannot be
/// reached they fail with [`StorageError::Away`], within seconds at first and then at once.
pub trait SharedStore: Send + Sync {
    /// The clock of the store, by which all of its servers judge lifetimes.
    fn clock(&self) -> Clock;

    /// A number for the history of the store. It changes when acknowledged changes may have been
    /// lost: at a failover to another database, or when a backup was restored. All servers know a
    /// history by the same number, and another history has another one.
    ///
    /// The number changes before any call returns what was read from the new history. Calls that
    /// begin afterwards use the new history only.
    fn history(&self) -> u64;

    /// [`Storage::commit`](super::Storage::commit) of groups that were judged in a history. They are
    /// never sent in another one.
    ///
    /// # Errors
    /// See [`CommitError`]. If the history has changed, [`CommitError::Unknown`], or
    /// [`StorageError::Away`] if nothing was sent.
    fn commit_in(&self, history: u64, groups: &[Group]) -> Result<Verdicts, CommitError>;

    /// The present records and tails of several streams, in one round trip; at most
    /// [`MAX_REFRESHED`]. The answer includes every commit that was acknowledged, by any server,
    /// before the call. A stream that is damaged fails alone.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn refresh(&self, names: &[StreamName]) -> Result<Vec<Lookup>, StorageError>;

    /// [`Self::refresh`] without blocking. Reads of clients wait for it, so the tokio runtime that
    /// polls it does the I/O: a thread of the store's own would cost several context switches.
    fn refresh_async<'s>(&'s self, names: &'s [StreamName]) -> BoxFuture<'s, Result<Vec<Lookup>, StorageError>>;

    /// The bytes of several ranges, in one round trip, each as [`Storage::read`](super::Storage::read)
    /// returns it. The caller bounds the ranges, and gives at most [`MAX_REFRESHED`].
    ///
    /// # Errors
    /// If the store cannot be read.
    fn read_many(&self, ranges: &[(StreamId, Range<Position>)]) -> Result<Vec<Bytes>, StorageError>;

    /// Sends the changes of other servers to `feed` from now on, for as long as it exists. Called
    /// once.
    fn follow(&self, feed: Weak<dyn Feed>);

    /// Why the store cannot be reached; `None`: it is reached, as far as is known.
    fn outage(&self) -> Option<String> {
        None
    }

    /// The counts since the start, for the metrics.
    fn figures(&self) -> StoreFigures {
        StoreFigures::default()
    }

    /// Takes a duty, or keeps it: true if this server has it for [`DUTY_LEASE`]. At most one server
    /// has it at a time.
    ///
    /// # Errors
    /// If the store cannot be written to; the server does not have the duty then.
    fn take_duty(&self, duty: Duty) -> Result<bool, StorageError>;
}

/// The present record and tail of a stream; `None`: there is no such stream.
pub type Lookup = Result<Option<Stored>, StorageError>;

/// The receiver of changes. Its methods must not block: they are called by the task that reads the
/// changes.
pub trait Feed: Send + Sync {
    /// Streams that other servers have changed. Changes of one server come in the order of its
    /// commits. A change may be repeated, and this server's own may be among them.
    fn changed(&self, changes: &[Changed]);

    /// Streams that this server has changed by a commit whose outcome was
    /// [`CommitError::Unknown`](super::CommitError::Unknown).
    fn happened_late(&self, changes: &[Changed]);

    /// Changes may have been missed. Everything that is followed must be read again. Also called
    /// when the store is reached again after it was away.
    fn missed(&self);

    /// [`SharedStore::history`] has changed.
    fn restored(&self);
}

/// A stream as a commit left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// The stream.
    pub id: StreamId,
    /// Its revision; see [`Stored::rev`].
    pub rev: u64,
    /// Its tail.
    pub tail: Position,
    /// Whether the stream was removed.
    pub gone: bool,
}

/// The use of a shared store by this server since its start.
#[derive(Debug, Clone, Default)]
pub struct StoreFigures {
    /// How often something has happened, by name.
    pub events: Vec<(&'static str, u64)>,
    /// How long round trips took, by their purpose.
    pub round_trips: Vec<(&'static str, Durations)>,
    /// How long ago every change of other servers was known; `None`: never yet.
    pub lag: Option<Duration>,
    /// Whether notifications of other servers arrive.
    pub hears_notifications: bool,
}

/// How long something took, as a histogram.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    /// Upper bounds, ascending, each with the number of durations that do not exceed it.
    pub buckets: Vec<(Duration, u64)>,
    /// The number of all durations.
    pub count: u64,
    /// Their sum.
    pub sum: Duration,
}

/// Work that one of the servers does for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Expiring due streams, and trimming them.
    Sweep,
    /// Applying retention rules to streams that exist.
    Retention,
    /// Freeing the space of removed data.
    Upkeep,
    /// Looking for subscriptions whose wake-up was lost with a server.
    Subscriptions,
}
