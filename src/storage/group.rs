//! Groups: the unit of commit, what it was judged on, and the store's answer.

use bytes::Bytes;

use super::{
    error::StorageError,
    record::{Position, Progress, Stored, StreamId, StreamRecord, WriterState},
};
use crate::protocol::StreamName;

/// One step of a batch. Steps apply in order.
#[derive(Debug, Clone)]
pub enum Change {
    /// Writes a record: creates the stream, or replaces its record. If [`StreamRecord::first`] has
    /// moved, the bytes below it are freed later. In a shared store, a stream is created only if
    /// its id is greater than that of every stream removed from its name; otherwise the group has
    /// moved, because another server's ids are ahead.
    Put {
        /// The stream's name.
        name: StreamName,
        /// The complete record.
        record: StreamRecord,
    },
    /// Adds bytes at the end.
    Append {
        /// The stream.
        id: StreamId,
        /// The tail on which the append was judged. If the tail is elsewhere, the group has moved,
        /// unless it expects [`Expect::Room`].
        at: Position,
        /// The bytes, in order; piece boundaries have no meaning.
        data: Vec<Bytes>,
    },
    /// Stores a writer's state, or removes it.
    Writer {
        /// The stream.
        id: StreamId,
        /// The writer.
        key: String,
        /// The new state; `None` removes it.
        state: Option<WriterState>,
    },
    /// Removes a stream: its record at once, its bytes and writers later
    /// (see [`Storage::maintain`](super::Storage::maintain)). It may have been created by the same group.
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
    /// The conditions on which the changes were judged. Always empty for a store that is not shared. A group may
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

/// A condition that must still hold when a group is committed to a shared store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// A stream exists and has this revision.
    Rev {
        /// The stream.
        id: StreamId,
        /// See [`Stored::rev`].
        rev: u64,
    },
    /// There is no stream of a name.
    Absent {
        /// The name.
        name: StreamName,
    },
    /// A writer's progress is unchanged.
    Writer {
        /// The stream.
        id: StreamId,
        /// The writer.
        key: String,
        /// Its progress; `None`: the store does not know the writer.
        progress: Option<Progress>,
    },
    /// The appends to a stream fit wherever its tail is by now: they need not land where they were
    /// judged.
    Room {
        /// The stream.
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
    /// The stream.
    pub id: StreamId,
    /// The tail before the group, where its appends begin.
    pub at: Position,
    /// The revision after the group.
    pub rev: u64,
}

/// A batch was not committed. Unless it is [`CommitError::Unknown`], no part of it was written.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No room: the memory limit, or the disk.
    #[error("no room left: {0}")]
    Full(String),
    /// The store has lost acknowledged bytes of a stream, which therefore accepts no appends.
    #[error("stream {id} is damaged: {what}")]
    Damaged {
        /// The stream.
        id: StreamId,
        /// The missing data.
        what: String,
    },
    /// A shared store was lost during the commit and could not be asked for the outcome in time.
    /// Each group was committed, or will be, or never: what the store says later is the truth.
    #[error("the outcome of a commit is unknown: {0}")]
    Unknown(String),
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
        /// The stream.
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
