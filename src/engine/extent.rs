//! Where a stream begins and ends, for cursors that are kept outside of it.

use std::sync::Arc;

use super::{Engine, errors::Unavailable, snapshot::Snapshot};
use crate::{
    protocol::{Offset, StreamName},
    storage::{Position, StreamId, StreamRecord},
};

/// Where a stream begins and ends.
#[derive(Debug, Clone)]
pub struct Extent {
    record: Arc<StreamRecord>,
    tail: Position,
}

impl Extent {
    /// The stream's id.
    #[must_use]
    pub fn id(&self) -> StreamId {
        self.record.id
    }

    /// The tail.
    #[must_use]
    pub fn tail(&self) -> Offset {
        self.record.offset(self.tail)
    }

    /// Whether the stream has issued an offset, which is neither of another stream nor past the tail.
    #[must_use]
    pub fn has(&self, offset: Offset) -> bool {
        self.record.gave_out(offset) && offset.position <= self.tail
    }

    /// A cursor as it applies to this stream: one of an earlier stream of the same name means the
    /// beginning.
    #[must_use]
    pub fn effective(&self, cursor: Offset) -> Offset {
        if self.record.gave_out(cursor) {
            cursor
        } else {
            Offset::BEGINNING
        }
    }

    /// Whether there is content after a cursor.
    #[must_use]
    pub fn continues_after(&self, cursor: Offset) -> bool {
        match self.effective(cursor) {
            Offset::BEGINNING => self.tail > self.record.earliest(),
            cursor => self.tail > cursor.position,
        }
    }
}

impl Engine {
    /// Where a stream begins and ends; `None` if there is no such stream. Does not count as a read.
    ///
    /// # Errors
    /// See [`Unavailable`].
    pub async fn extent(&self, name: &StreamName) -> Result<Option<Extent>, Unavailable> {
        let Some(stream) = self.find_fresh(name).await? else {
            return Ok(None);
        };
        let Snapshot { record, tail, gone, .. } = stream.snapshot();
        Ok(gone.is_none().then_some(Extent { record, tail }))
    }
}
