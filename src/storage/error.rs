//! Errors of reading or opening a store.

use std::{error::Error, io, path::PathBuf};

use super::lock::LockError;

/// A store could not be opened, read or copied.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system reported an error.
    #[error("{context}: {source}")]
    Io {
        /// The operation that failed.
        context: String,
        /// The error.
        source: io::Error,
    },
    /// The disk is full.
    #[error("no space left: {0}")]
    NoSpace(String),
    /// The store does not hold what was written to it.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// Stored data cannot be decoded.
    #[error("the store is damaged: {what}: {source}")]
    Malformed {
        /// The data that cannot be decoded.
        what: String,
        /// The decoder's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A newer version wrote the store.
    #[error(
        "the store has format {found}, this version reads up to {supported}: start the newer version, or restore a backup"
    )]
    NewerFormat {
        /// The format on disk.
        found: u64,
        /// The newest format that this version reads.
        supported: u64,
    },
    /// A change has no encoding.
    #[error("a change cannot be encoded: {0}")]
    Encode(#[source] Box<dyn Error + Send + Sync>),
    /// The store does not offer the operation.
    #[error("not supported: {0}")]
    Unsupported(&'static str),
    /// A shared store cannot be reached for the moment. Nothing was read.
    #[error("the store cannot be reached: {0}")]
    Away(String),
    /// A shared store is a standby, which takes no writes until it is promoted.
    #[error("the store takes no writes: {0}")]
    Standby(String),
    /// A shared store refuses this server, or promises too little. It stays so until somebody changes it.
    #[error("the store cannot be used: {0}")]
    Unusable(String),
    /// A URL cannot be used. The text names its key, and never the URL itself.
    #[error("{0}")]
    InvalidUrl(String),
    /// The caller ended a copy.
    #[error("the copy was cancelled before it was complete")]
    Cancelled,
    /// A copy cannot be made at a path.
    #[error("{}: {problem}", path.display())]
    InvalidTarget {
        /// The path.
        path: PathBuf,
        /// The reason, as a predicate: "is not empty".
        problem: &'static str,
    },
    /// A directory could not be locked.
    #[error(transparent)]
    InUse(#[from] LockError),
}

impl StorageError {
    /// A description of the damage, or the error itself if it reports none.
    ///
    /// # Errors
    /// Every error other than [`StorageError::Corrupt`] and [`StorageError::Malformed`].
    pub(crate) fn into_damage(self) -> Result<String, Self> {
        match self {
            Self::Corrupt(what) => Ok(what),
            Self::Malformed { what, source } => Ok(format!("{what}: {source}")),
            other => Err(other),
        }
    }

    /// Whether the directory cannot be written to, although it can be read.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_read_only(source))
    }
}

/// Whether the file system refuses writes.
pub(super) fn is_read_only(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

/// Whether the disk is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io(kind: io::ErrorKind) -> StorageError {
        StorageError::Io {
            context: "writing the journal".to_owned(),
            source: kind.into(),
        }
    }

    #[test]
    fn only_a_refused_write_counts_as_read_only() {
        assert!(io(io::ErrorKind::ReadOnlyFilesystem).is_read_only());
        assert!(io(io::ErrorKind::PermissionDenied).is_read_only());
        assert!(!io(io::ErrorKind::StorageFull).is_read_only());
        assert!(!StorageError::Cancelled.is_read_only());
    }

    #[test]
    fn damage_is_told_from_other_errors_and_sources_are_kept() {
        let malformed = StorageError::Malformed {
            what: "record 7".to_owned(),
            source: io::Error::from(io::ErrorKind::UnexpectedEof).into(),
        };
        assert!(malformed.source().is_some());
        assert!(malformed.into_damage().unwrap().starts_with("record 7: "));
        assert!(io(io::ErrorKind::UnexpectedEof).into_damage().is_err());
    }
}
