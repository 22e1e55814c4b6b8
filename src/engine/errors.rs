//! One error enum for each operation. Each variant says what the caller must do.

use crate::{
    protocol::{BadInput, Offset},
    storage::{CommitError, StorageError},
};

/// The engine cannot serve anybody this right now; the request itself may be fine.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// There is no room: delete something, or give the store more.
    #[error("no room left: {0}")]
    Full(String),
    /// Too much is waiting already: come back later.
    #[error("too many writes are waiting")]
    Overloaded,
    /// The server is stopping: come back to the next one.
    #[error("the server is stopping")]
    Stopping,
    /// Another writer of the same store was faster: try again.
    #[error("another writer was faster")]
    Raced,
    /// The store cannot be written to, only read: the operator has to let it.
    #[error("the store cannot be written to: {0}")]
    ReadOnly(String),
    /// The store has lost a part of the stream, and adds nothing to it: copy what is left, or delete
    /// it.
    #[error("the stream is damaged: {0}")]
    Damaged(String),
    /// The store failed; what it said is for the operator, not for the client.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl From<StorageError> for Unavailable {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<&CommitError> for Unavailable {
    fn from(error: &CommitError) -> Self {
        match error {
            CommitError::Full(what) => Self::Full(what.clone()),
            CommitError::TailMoved { .. } => Self::Raced,
            CommitError::Damaged { what, .. } => Self::Damaged(what.clone()),
            CommitError::Storage(error) if error.is_read_only() => Self::ReadOnly(error.to_string()),
            CommitError::Storage(error) => Self::Failed(error.to_string()),
        }
    }
}

/// Why a stream was not created.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateError {
    /// It exists with another configuration: choose another name, or ask for what is there.
    #[error("a stream of this name exists already, and its {0} differs")]
    Exists(&'static str),
    /// It was deleted and is kept for its forks: choose another name.
    #[error("a stream of this name was deleted and is kept for its forks")]
    SoftDeleted,
    /// There is nothing to fork: create the source first.
    #[error("the stream to fork does not exist")]
    SourceNotFound,
    /// The source was deleted: it can be read through its forks only.
    #[error("the stream to fork was deleted")]
    SourceSoftDeleted,
    /// A fork has its source's content type: leave the header out.
    #[error("the stream to fork has content type {0}")]
    SourceContentType(String),
    /// The request itself is wrong.
    #[error(transparent)]
    Bad(#[from] BadInput),
    /// The initial content is larger than a stream may be.
    #[error("the stream would be larger than {0} bytes")]
    TooLarge(u64),
    /// There may be no more streams: delete some.
    #[error("there are {0} streams already, which is the limit")]
    TooManyStreams(u64),
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why nothing was appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// There is no such stream: create it.
    #[error("the stream does not exist")]
    NotFound,
    /// It was deleted and is kept for its forks.
    #[error("the stream was deleted")]
    Gone,
    /// No more appends, ever.
    #[error("the stream is closed")]
    Closed {
        /// Where it ends.
        tail: Offset,
    },
    /// Send the stream's content type.
    #[error("the stream has content type {0}")]
    ContentType(String),
    /// `Stream-Seq` must grow. Clients look for the words "Sequence conflict".
    #[error("Sequence conflict: Stream-Seq is not greater than the last one, {last:?}")]
    SeqRegression {
        /// The last one.
        last: String,
        /// Where the stream ends.
        tail: Offset,
    },
    /// A producer of a later epoch has taken over.
    #[error("the producer's epoch is {current} by now")]
    StaleEpoch {
        /// Its epoch.
        current: u64,
        /// Where the stream ends, if it is closed.
        closed_at: Option<Offset>,
    },
    /// A new epoch starts at sequence number 0.
    #[error("Producer-Seq: a new epoch starts at 0")]
    EpochStart,
    /// Requests are missing in between.
    #[error("Producer-Seq {received} came where {expected} was expected")]
    SeqGap {
        /// What would have been accepted.
        expected: u64,
        /// What came.
        received: u64,
    },
    /// The stream would become larger than a stream may be.
    #[error("the stream would be larger than {0} bytes")]
    TooLarge(u64),
    /// The request itself is wrong.
    #[error(transparent)]
    Bad(#[from] BadInput),
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a stream was not deleted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DeleteError {
    /// There is none.
    #[error("the stream does not exist")]
    NotFound,
    /// It was deleted before.
    #[error("the stream was deleted")]
    Gone,
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
