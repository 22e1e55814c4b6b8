//! Why a read fails.

use super::errors::Unavailable;
use crate::{protocol::Offset, storage::StorageError};

/// Why nothing was read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Retention has removed the data: read on from the earliest position, without what came
    /// before it.
    #[error("data at this offset has been removed by retention")]
    Trimmed {
        /// Where the earliest content that can be read begins.
        earliest: Offset,
    },
    /// The offset belongs to another stream, or to an earlier stream of this name: read on from
    /// the beginning, or from the tail.
    #[error("the offset belongs to another stream, or to a stream of this name that was deleted since")]
    OtherLife {
        /// Where this stream ends.
        tail: Offset,
    },
    /// No message or append begins at the offset: read on from an offset that the server issued.
    #[error("was not issued by this server for this stream")]
    InvalidOffset,
    /// There is no such stream.
    #[error("the stream does not exist")]
    NotFound,
    /// It was deleted and is kept for its forks.
    #[error("the stream was deleted")]
    Gone,
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        Self::Unavailable(error.into())
    }
}
