//! What is published of a stream at one moment, and what identifies it.

use std::sync::Arc;

use super::read_error::ReadError;
use crate::{
    protocol::{Millis, Offset, ReadFrom},
    storage::{Position, StreamId, StreamRecord},
};

/// Why a stream is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// Deleted or expired.
    Deleted,
    /// Deleted, and kept for its forks.
    SoftDeleted,
    /// The store has another history now, so this is not the stream. Its name may have one.
    Outdated,
}

/// Identifies a stream and its bytes forever, even if the store loses them and starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub(super) id: StreamId,
    pub(super) created_at: Millis,
    pub(super) history: u64,
}

impl Identity {
    /// Two numbers that no other stream has both of.
    #[must_use]
    pub fn numbers(&self) -> [u64; 2] {
        [self.created_at, self.id]
    }

    /// The history of a shared store. In another one, the same positions may have other bytes.
    #[must_use]
    pub fn history(&self) -> Option<u64> {
        (self.history > 0).then_some(self.history)
    }
}

/// The published state of a stream at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub record: Arc<StreamRecord>,
    /// The position after the last byte.
    pub tail: Position,
    /// Why it is gone, if it is.
    pub gone: Option<Gone>,
    /// The tail is not behind any offset that was issued, unless the store has lost data.
    pub is_fresh: bool,
}

impl Snapshot {
    /// The earliest position that can be read.
    pub fn earliest(&self) -> Position {
        self.record.earliest()
    }

    pub fn is_closed(&self) -> bool {
        self.record.closed
    }

    /// A position as an offset.
    pub fn offset(&self, position: Position) -> Offset {
        self.record.offset(position)
    }

    /// The position at which a read begins. An offset of this life past the tail means the tail:
    /// its reader waits for what comes. In a shared store it was lost.
    pub fn resolve(&self, from: ReadFrom) -> Result<Position, ReadError> {
        let offset = match from {
            ReadFrom::Beginning => return Ok(self.earliest()),
            ReadFrom::Now => return Ok(self.tail),
            ReadFrom::At(offset) => offset,
        };
        if !self.record.gave_out(offset) {
            return Err(ReadError::OtherLife {
                tail: self.offset(self.tail),
            });
        }
        if offset.position < self.earliest() {
            return Err(self.trimmed());
        }
        if self.is_fresh && offset.position > self.tail {
            return Err(ReadError::OtherLife {
                tail: self.offset(self.tail),
            });
        }
        Ok(offset.position.min(self.tail))
    }

    /// Refuses a read before the earliest position.
    pub fn trimmed(&self) -> ReadError {
        ReadError::Trimmed {
            earliest: self.offset(self.earliest()),
        }
    }
}
