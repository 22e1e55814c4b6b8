//! Errors that operations share; each operation has its own beside it. A variant says what the
//! caller must do.

use std::{io::ErrorKind, sync::Arc};

use crate::{
    protocol::{BadInput, Offset},
    storage::{CommitError, StorageError},
};

/// The engine cannot serve the request right now; the request itself may be fine.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// There is no room: delete something, or give the store more.
    #[error("no room left: {0}")]
    Full(String),
    /// The queue is full: retry later.
    #[error("too many writes are queued")]
    Overloaded,
    /// The server is stopping: retry with the next one.
    #[error("the server is stopping")]
    Stopping,
    /// Other servers kept changing the stream: retry.
    #[error("the stream kept changing")]
    Raced,
    /// The store is read-only: the operator has to make it writable.
    #[error("the store cannot be written to: {0}")]
    ReadOnly(#[source] Arc<StorageError>),
    /// The store has lost a part of the stream, which accepts no more appends: copy what is left,
    /// or delete it.
    #[error("the stream is damaged: {0}")]
    Damaged(String),
    /// The store failed; its error is for the operator, not for the client.
    #[error("the store failed: {0}")]
    Failed(#[source] Arc<StorageError>),
}

impl From<StorageError> for Unavailable {
    fn from(error: StorageError) -> Self {
        Self::Failed(Arc::new(error))
    }
}

impl From<CommitError> for Unavailable {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Full(what) => Self::Full(what),
            CommitError::Damaged { what, .. } => Self::Damaged(what),
            CommitError::Storage(error) if is_read_only(&error) => Self::ReadOnly(Arc::new(error)),
            CommitError::Storage(error) => Self::Failed(Arc::new(error)),
        }
    }
}

fn is_read_only(error: &StorageError) -> bool {
    let StorageError::Io { source, .. } = error else {
        return false;
    };
    matches!(
        source.kind(),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
    )
}

/// Why nothing was read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The stream's retention has removed the data at the offset: read on from the earliest
    /// position.
    #[error("data at this offset has been removed by retention")]
    GivenUp {
        /// Where the earliest content that can be read begins.
        earliest: Offset,
    },
    /// The offset is one of another stream's, or of an earlier stream of this name: read on from
    /// the beginning, or from `now`.
    #[error(
        "the offset does not belong to this stream: it is another stream's, or the stream has since been deleted and \
         created again; read on from offset=-1 or offset=now"
    )]
    OtherLife {
        /// Where this stream ends.
        tail: Offset,
    },
    /// There is no such stream.
    #[error("the stream does not exist")]
    NotFound,
    /// It was deleted and is kept for its forks.
    #[error("the stream was deleted")]
    Gone,
    /// The request itself is wrong, such as an offset that is not one of this stream.
    #[error(transparent)]
    Bad(#[from] BadInput),
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        Self::Unavailable(error.into())
    }
}
