//! Why an import stops.

use std::io;

use crate::protocol::StreamName;

/// Why an import stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// The input is malformed or unreadable.
    #[error("{file}: {source}")]
    Input {
        /// The file, or "standard input".
        file: String,
        /// The line and the fault.
        source: InputError,
    },
    /// The input is empty.
    #[error("{0}: is empty")]
    Empty(String),
    /// A stream that `--only` names is not in the input.
    #[error("--only: the stream {:?} is not in {file}", .stream.as_str())]
    NotInFile {
        /// The stream.
        stream: StreamName,
        /// The file, or "standard input".
        file: String,
    },
    /// A stream exists that this import did not create.
    #[error(
        "the stream {:?} already exists and is not from this import; delete it, or pass --replace to delete it first",
        .0.as_str()
    )]
    Foreign(StreamName),
    /// The stream was deleted, or it expired.
    #[error("the stream {:?} was deleted or expired while it was imported", .0.as_str())]
    Vanished(StreamName),
}

/// A fault of the input, with its line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    /// Unexpected content.
    #[error("line {line}: {reason}")]
    Malformed {
        /// The line number; the first is 1.
        line: u64,
        /// The fault, and what was expected.
        reason: String,
    },
    /// The input cannot be read.
    #[error("line {line}: cannot be read: {source}")]
    Unreadable {
        /// The line number.
        line: u64,
        /// The system's error.
        source: io::Error,
    },
}
