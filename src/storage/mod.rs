//! Where bytes and records are kept.
//!
//! Storage knows no rules: no HTTP, no tokens, no JSON, no protocol. It keeps a
//! record and one run of bytes for each stream and applies groups of changes atomically.
//! The engine validates, assigns positions and decides what a batch holds.
//!
//! Every call may block, so the engine never makes one on an async worker
//! unless [`Storage::blocking`] says that it cannot.

pub mod acid;
#[cfg(test)]
pub(crate) mod contract;
pub mod file;
pub(crate) mod held;
mod journaled;
pub mod lock;
pub mod memory;
mod segments;
pub mod tools;

#[cfg(any(test, fuzzing))]
pub(crate) use journaled::fuzzing as fuzzing_journaled;

use std::{ops::Range, path::Path};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::protocol::{Framing, Lifetime, Millis, Offset, ProducerStamp, RetentionPolicy, StreamName};

/// Names a stream's bytes; never used twice, so that a stream that is deleted and created
/// again shares nothing with its predecessor. Greater than those of all streams before it.
pub type StreamId = u64;

/// A byte position in a stream. The first byte has position 0.
pub type Position = u64;

/// What is kept of a stream besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Names the stream's bytes.
    pub id: StreamId,
    /// The position of its first own byte: 0, or where a fork branches off.
    pub start: Position,
    /// The content type as it was given at creation.
    pub content_type: String,
    /// When it was created.
    pub created_at: Millis,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// The last read or write that is known to disk, for a sliding lifetime.
    pub touched_at: Millis,
    /// When [`Storage::due`] is to name this stream; `None`: never.
    pub due_at: Option<Millis>,
    /// No more appends.
    pub closed: bool,
    /// The producer whose request closed it.
    pub closed_by: Option<ProducerStamp>,
    /// The last `Stream-Seq`.
    pub stream_seq: Option<String>,
    /// Where it was forked from. Boxed, as most streams are no forks.
    pub fork: Option<Box<Fork>>,
    /// How many streams are forked from it.
    pub forks: u32,
    /// Deleted by its owner, kept for its forks.
    pub soft_deleted: bool,
    /// Earlier lives whose positions this one goes on from, in order: a fork has its source's,
    /// an imported stream has those of the stream that was exported.
    pub lives: Vec<Life>,
    /// Its own incarnation where that is not its id: after a repair that lost the stream's end.
    pub renewed: Option<u64>,
    /// How its appends are kept apart.
    pub framing: Framing,
    /// What it gives up of its past, if anything. Boxed, because most streams give up nothing.
    pub retention: Option<Box<Retention>>,
}

impl StreamRecord {
    /// The position of the first own byte that is kept. What lies below, the store gives back
    /// at leisure (see [`Storage::maintain`]); nobody asks for it any more.
    #[must_use]
    pub fn first(&self) -> Position {
        self.start.max(self.retention.as_ref().map_or(0, |past| past.given_up))
    }

    /// The earliest position that can be read.
    #[must_use]
    pub fn earliest(&self) -> Position {
        self.retention.as_ref().map_or(0, |past| past.earliest)
    }

    /// The incarnation of positions after those of its earlier lives.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.renewed.unwrap_or(self.id)
    }

    /// A position as an offset of the life that handed it out.
    #[must_use]
    pub fn offset(&self, position: Position) -> Offset {
        let earlier = self.lives.iter().find(|life| position <= life.end);
        let incarnation = earlier.map_or(self.incarnation(), |life| life.incarnation);
        Offset { incarnation, position }
    }

    /// Whether an offset is of this stream's lives.
    #[must_use]
    pub fn gave_out(&self, offset: Offset) -> bool {
        self.offset(offset.position) == offset
    }
}

/// A run of positions that another life of a stream has handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Its incarnation.
    pub incarnation: u64,
    /// Its last position. The next life begins after it.
    pub end: Position,
}

/// How much of its past a stream keeps, and what has been given up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// What was asked for at creation; `None`: what the configuration says of its name.
    pub policy: Option<RetentionPolicy>,
    /// The earliest position that can be read.
    pub earliest: Position,
    /// Below this position nobody reads any more, no fork either. Never moves back.
    pub given_up: Position,
    /// Where the tail was at some moments, oldest first, for giving up by age.
    pub marks: Vec<Mark>,
    /// When to look again.
    pub due_at: Option<Millis>,
}

/// Everything below a position was written by a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The moment.
    pub at: Millis,
    /// The tail at that moment.
    pub position: Position,
}

/// Where a fork comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fork {
    /// The stream that it was forked from.
    pub source: StreamName,
    /// The source's id, so that a later stream of the same name is not mistaken for it.
    pub source_id: StreamId,
    /// `Stream-Fork-Offset` as it was resolved, without the sub-offset.
    pub offset: Position,
    /// `Stream-Fork-Sub-Offset`.
    pub sub_offset: u64,
    /// Whose bytes serve the positions below the fork's own start, in order: each entry
    /// serves from the end of the one before it.
    pub lineage: Vec<Inherited>,
}

/// A run of inherited bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inherited {
    /// Whose bytes.
    pub id: StreamId,
    /// Up to this position, exclusive.
    pub end: Position,
}

/// Where a producer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerState {
    /// Its current epoch.
    pub epoch: u64,
    /// The highest accepted sequence number of that epoch.
    pub seq: u64,
}

/// Where one of a stream's writers stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterState {
    /// How far the writer has come.
    pub progress: Progress,
    /// When it last wrote; 0 where that is unknown.
    pub used_at: Millis,
}

/// How far a writer has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// Of an idempotent producer.
    Producer(ProducerState),
    /// The last `Stream-Seq`, of a writer with sequences of its own.
    Sequence(Box<str>),
}

impl WriterState {
    /// The bytes that a writer occupies besides its key.
    pub const OVERHEAD: u64 = 128;

    /// The bytes that it occupies under `key`, in memory as well as on disk.
    #[must_use]
    pub fn size(&self, key: &str) -> u64 {
        let text = match &self.progress {
            Progress::Producer(_) => 0,
            Progress::Sequence(seq) => seq.len(),
        };
        Self::OVERHEAD + (key.len() + text) as u64
    }
}

/// A record, and where its bytes end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The record.
    pub record: StreamRecord,
    /// The position after the last byte; [`StreamRecord::first`] when it has none of its own.
    pub tail: Position,
    /// The revision of the record, in a shared store: greater with each [`Change::Put`]. A store
    /// that is not shared needs none and says 0.
    pub rev: u64,
}

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
        /// The tail that this builds on. With another tail there the group has moved, unless it
        /// expects [`Expect::Room`].
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

/// Changes that are committed together or not at all, such as those of one stream, or of a fork
/// and its source.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// What the changes were judged on. Always empty for a store that is not shared. A group may
    /// consist of expectations only, if a refusal was judged on them.
    pub expects: Vec<Expect>,
    /// The changes, which apply in order.
    pub changes: Vec<Change>,
}

impl From<Vec<Change>> for Group {
    fn from(changes: Vec<Change>) -> Self {
        Self {
            expects: Vec::new(),
            changes,
        }
    }
}

/// Something that must still be so when a group is committed to a shared store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// A stream exists and has this revision.
    Rev {
        /// Which stream.
        id: StreamId,
        /// See [`Stored::rev`].
        rev: u64,
    },
    /// There is no stream of a name.
    Absent {
        /// The name.
        name: StreamName,
    },
    /// A writer stands where it was seen.
    Writer {
        /// On which stream.
        id: StreamId,
        /// The writer.
        key: String,
        /// Its progress; `None`: it is unknown.
        progress: Option<Progress>,
    },
    /// The appends to a stream fit wherever its tail is by now: they need not land where they were
    /// judged.
    Room {
        /// Which stream.
        id: StreamId,
        /// The last position at which they may begin.
        at_most: Position,
    },
}

/// The answer to a batch of groups.
#[derive(Debug)]
pub enum Verdicts {
    /// Every group is committed, and every append landed where it was judged. The only answer of
    /// a store that is not shared, unless the caller has lost track of a tail.
    AllCommitted,
    /// One verdict for each group, in their order.
    Each(Vec<Verdict>),
}

/// The answer to one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is committed. For each stream that it expected or changed, where that was found.
    Committed(Vec<Landed>),
    /// Nothing of it is committed, because what it was judged on is no longer so. The present
    /// state of its streams, as far as the store has looked; `None`: the id is gone.
    Moved(Vec<(StreamId, Option<Stored>)>),
}

/// A stream of a committed group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landed {
    /// Which stream.
    pub id: StreamId,
    /// The tail before the group, where its appends begin.
    pub at: Position,
    /// The revision after the group.
    pub rev: u64,
}

/// What the store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How many streams have a record.
    pub streams: u64,
    /// The bytes of all streams from [`StreamRecord::first`] on, as stored or as near as is
    /// cheap to know.
    pub bytes: u64,
}

/// A store could not be read, or not be used at all.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system said no.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: String,
        /// What it said.
        source: std::io::Error,
    },
    /// What is there is not what was written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The store was written by a newer version.
    #[error(
        "the store has format {found}, this version reads up to {supported}: start the newer version, or restore a backup"
    )]
    NewerFormat {
        /// The format on disk.
        found: u64,
        /// The newest format known here.
        supported: u64,
    },
}

/// A batch was not committed; nothing of it is there.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No room: the memory limit, or the disk.
    #[error("no room left: {0}")]
    Full(String),
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

/// Why a store that is not shared refuses a batch of changes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    /// A stream's tail is not where an append expects it.
    #[error("the tail of stream {id} is at {tail}")]
    TailMoved {
        /// Which stream.
        id: StreamId,
        /// Where its tail is.
        tail: Position,
    },
    #[error(transparent)]
    Failed(#[from] CommitError),
}

impl From<StorageError> for Refused {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.into())
    }
}

/// [`Storage::commit`] for a store that is not shared: all groups are one batch.
pub(crate) fn commit_as_one(
    groups: &[Group],
    commit: impl FnOnce(&[Change]) -> Result<(), Refused>,
) -> Result<Verdicts, CommitError> {
    let committed = match groups {
        [only] => commit(&only.changes),
        groups => {
            let changes: Vec<Change> = groups.iter().flat_map(|group| group.changes.iter().cloned()).collect();
            commit(&changes)
        }
    };
    match committed {
        Ok(()) => Ok(Verdicts::AllCommitted),
        Err(Refused::TailMoved { .. }) => Ok(Verdicts::Each(vec![Verdict::Moved(Vec::new()); groups.len()])),
        Err(Refused::Failed(error)) => Err(error),
    }
}

/// A store for streams.
///
/// Reads see every batch whose `commit` has returned, and of a batch under way nothing or all.
pub trait Storage: Send + Sync + 'static {
    /// A stream's record and tail.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError>;

    /// Where a stream's writers stand, by key, in no order. The caller bounds how many there are.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError>;

    /// Streams whose names' keys begin with `prefix`, in the order of their keys, after `after`, at
    /// most `limit`, each name as its stream's creator spelled it. `prefix` and `after` are in
    /// the form of keys ([`canonical`](crate::protocol::name::canonical)).
    ///
    /// # Errors
    /// When the store cannot be read.
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(StreamName, Stored)>, StorageError>;

    /// Streams whose `due_at` is not after `now`, soonest first, at most `limit`. Costs
    /// nothing for streams that are not due.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError>;

    /// The bytes of a range. Shorter where the bytes end sooner. The caller bounds the range.
    /// Below [`StreamRecord::first`] the answer may be anything; who reads while the record
    /// changes looks at it again afterwards.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError>;

    /// Writes groups, as durably as this store promises, each of them whole or not at all.
    /// A store that is not shared may write all of them or none.
    ///
    /// # Errors
    /// See [`CommitError`]; nothing was written then.
    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError>;

    /// Whether other servers change this store as well. Commits name what they were judged on only
    /// if so.
    fn is_shared(&self) -> bool {
        false
    }

    /// Sets `count` ids aside that are greater than those of all streams there are or were, and
    /// not below `lowest`. Returns the first.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError>;

    /// Does a bounded piece (some milliseconds) of upkeep, such as giving space back.
    /// Returns whether more is waiting. Called from the committer when it has nothing to write.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn maintain(&self) -> Result<bool, CommitError>;

    /// What the store holds.
    fn usage(&self) -> Usage;

    /// Whether calls can wait for a disk or a network. The memory store says no, and is
    /// called on async workers.
    fn blocking(&self) -> bool {
        true
    }

    /// Copies the store as it is at this moment to a new directory that a server can start on,
    /// while others go on reading and writing. `progress` hears how far it is, and may end it.
    ///
    /// # Errors
    /// When the store keeps nothing in a directory, cannot be read, or the target cannot be
    /// written; then there is no target.
    fn backup(&self, _target: &Path, _progress: &mut tools::Progress<'_>) -> Result<tools::Report, StorageError> {
        Err(tools::no_directory())
    }
}
