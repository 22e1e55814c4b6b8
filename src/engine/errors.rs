//! Errors that operations share; each operation has its own beside it. A variant says what the
//! caller must do.

use std::{io::ErrorKind, sync::Arc};

use crate::storage::{CommitError, StorageError};

/// The engine cannot serve the request right now; the request itself may be fine.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Unavailable {
    /// There is no room: delete something, or give the store more.
    #[error("no room left: {0}")]
    Full(String),
    /// The queue is full: retry later.
    #[error("too many writes are queued")]
    Overloaded,
    /// What is stored is still being read, or cannot be read at present: retry later.
    #[error("what is stored has not been read yet")]
    Loading,
    /// The server is stopping: retry with the next one.
    #[error("the server is stopping")]
    Stopping,
    /// Other servers kept changing the stream: retry.
    #[error("the stream kept changing")]
    Raced,
    /// The store that the servers share cannot be reached: retry later.
    #[error("the store cannot be reached: {0}")]
    Away(String),
    /// The store was lost during the commit: find out whether the change was made, or retry as an
    /// idempotent producer.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
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
        match error {
            StorageError::Away(what) | StorageError::Standby(what) | StorageError::Unusable(what) => Self::Away(what),
            error => Self::Failed(Arc::new(error)),
        }
    }
}

impl From<CommitError> for Unavailable {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Full(what) => Self::Full(what),
            CommitError::Damaged { what, .. } => Self::Damaged(what),
            CommitError::Unknown(what) => Self::Unknown(what),
            CommitError::Storage(error) if is_read_only(&error) => Self::ReadOnly(Arc::new(error)),
            CommitError::Storage(error) => error.into(),
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
