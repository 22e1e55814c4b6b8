//! Records as versions before format 3 wrote them.

use serde::{Deserialize, Serialize};

use super::{StoredFork, StoredLifetime, StoredRetention, StoredStamp};
use crate::{
    protocol::{Framing, Millis},
    storage::{Fork, Life, Position, StreamId, StreamRecord},
};

/// A record without the fields added by format 3. Its retention, if any, followed it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::storage) struct LegacyRecord {
    id: StreamId,
    start: Position,
    content_type: String,
    created_at: Millis,
    lifetime: StoredLifetime,
    touched_at: Millis,
    due_at: Option<Millis>,
    closed: bool,
    closed_by: Option<StoredStamp<'static>>,
    stream_seq: Option<String>,
    fork: Option<Box<StoredFork<'static>>>,
    forks: u32,
    soft_deleted: bool,
}

impl LegacyRecord {
    pub(in crate::storage) fn id(&self) -> StreamId {
        self.id
    }

    /// The record today. The incarnation of a legacy stream is its id, and so are those of the
    /// streams in its lineage.
    pub(in crate::storage) fn upgrade(self, retention: Option<StoredRetention>) -> StreamRecord {
        let fork = self.fork.map(|fork| Box::new(Fork::from(*fork)));
        let lineage = fork.iter().flat_map(|fork| &fork.lineage);
        let lives = lineage
            .map(|part| Life {
                incarnation: part.id,
                end: part.end,
            })
            .collect();
        StreamRecord {
            id: self.id,
            start: self.start,
            content_type: self.content_type,
            created_at: self.created_at,
            lifetime: self.lifetime.into(),
            touched_at: self.touched_at,
            due_at: self.due_at,
            closed: self.closed,
            closed_by: self.closed_by.map(Into::into),
            stream_seq: self.stream_seq,
            fork,
            forks: self.forks,
            soft_deleted: self.soft_deleted,
            lives,
            renewed: None,
            framing: Framing::NONE,
            retention: retention.map(|retention| Box::new(retention.into())),
        }
    }
}

#[cfg(test)]
impl From<&StreamRecord> for LegacyRecord {
    /// A record of today begins with the fields of a legacy one.
    fn from(record: &StreamRecord) -> Self {
        let bytes = postcard::to_stdvec(&super::StoredRecord::from(record)).unwrap();
        postcard::take_from_bytes(&bytes).unwrap().0
    }
}
