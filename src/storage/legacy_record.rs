//! Records as versions before format 3 wrote them.

use serde::{Deserialize, Serialize};

use crate::{
    protocol::{Framing, Lifetime, Millis, ProducerStamp},
    storage::{Fork, Life, Position, Retention, StreamId, StreamRecord},
};

/// A record without what came with format 3, and without its retention, which followed it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EarlierRecord {
    id: StreamId,
    start: Position,
    content_type: String,
    created_at: Millis,
    lifetime: Lifetime,
    touched_at: Millis,
    due_at: Option<Millis>,
    closed: bool,
    closed_by: Option<ProducerStamp>,
    stream_seq: Option<String>,
    fork: Option<Box<Fork>>,
    forks: u32,
    soft_deleted: bool,
}

impl EarlierRecord {
    pub(super) fn id(&self) -> StreamId {
        self.id
    }

    /// As a record of today. Its incarnation is its id, as everybody's, and so are those of the
    /// streams that it reads through.
    pub(super) fn renew(self, retention: Option<Box<Retention>>) -> StreamRecord {
        let lineage = self.fork.iter().flat_map(|fork| &fork.lineage);
        let lives = lineage.map(|part| Life {
            incarnation: part.id,
            end: part.end,
        });
        StreamRecord {
            id: self.id,
            start: self.start,
            content_type: self.content_type,
            created_at: self.created_at,
            lifetime: self.lifetime,
            touched_at: self.touched_at,
            due_at: self.due_at,
            closed: self.closed,
            closed_by: self.closed_by,
            stream_seq: self.stream_seq,
            lives: lives.collect(),
            fork: self.fork,
            forks: self.forks,
            soft_deleted: self.soft_deleted,
            renewed: None,
            framing: Framing::NONE,
            retention,
        }
    }
}

#[cfg(test)]
impl From<&StreamRecord> for EarlierRecord {
    fn from(record: &StreamRecord) -> Self {
        let record = record.clone();
        Self {
            id: record.id,
            start: record.start,
            content_type: record.content_type,
            created_at: record.created_at,
            lifetime: record.lifetime,
            touched_at: record.touched_at,
            due_at: record.due_at,
            closed: record.closed,
            closed_by: record.closed_by,
            stream_seq: record.stream_seq,
            fork: record.fork,
            forks: record.forks,
            soft_deleted: record.soft_deleted,
        }
    }
}
