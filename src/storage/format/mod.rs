//! Records as they are stored, in entries of the journal and rows of the index.
//!
//! The order and the types of the fields are the format, in postcard's encoding (see
//! `docs/storage.md`). A change here needs another encoding, and these types to read this one.

pub(super) mod legacy;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    Fork, Inherited, Life, Mark, Position, ProducerState, Progress, Retention, StreamId, StreamRecord, WriterState,
};
use crate::protocol::{Framing, Lifetime, Millis, ProducerStamp, RetentionPolicy, StreamName};

/// A [`StreamRecord`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredRecord<'a> {
    id: StreamId,
    start: Position,
    content_type: Cow<'a, str>,
    created_at: Millis,
    lifetime: StoredLifetime,
    touched_at: Millis,
    due_at: Option<Millis>,
    closed: bool,
    closed_by: Option<StoredStamp<'a>>,
    stream_seq: Option<Cow<'a, str>>,
    fork: Option<Box<StoredFork<'a>>>,
    forks: u32,
    soft_deleted: bool,
    lives: Vec<StoredLife>,
    renewed: Option<u64>,
    framing: Framing,
    retention: Option<Box<StoredRetention>>,
}

impl StoredRecord<'_> {
    pub(super) fn id(&self) -> StreamId {
        self.id
    }
}

impl<'a> From<&'a StreamRecord> for StoredRecord<'a> {
    fn from(record: &'a StreamRecord) -> Self {
        Self {
            id: record.id,
            start: record.start,
            content_type: Cow::Borrowed(&record.content_type),
            created_at: record.created_at,
            lifetime: record.lifetime.into(),
            touched_at: record.touched_at,
            due_at: record.due_at,
            closed: record.closed,
            closed_by: record.closed_by.as_ref().map(Into::into),
            stream_seq: record.stream_seq.as_deref().map(Cow::Borrowed),
            fork: record.fork.as_deref().map(|fork| Box::new(fork.into())),
            forks: record.forks,
            soft_deleted: record.soft_deleted,
            lives: record.lives.iter().copied().map(Into::into).collect(),
            renewed: record.renewed,
            framing: record.framing,
            retention: record.retention.as_deref().map(|retention| Box::new(retention.into())),
        }
    }
}

impl From<StoredRecord<'_>> for StreamRecord {
    fn from(stored: StoredRecord<'_>) -> Self {
        Self {
            id: stored.id,
            start: stored.start,
            content_type: stored.content_type.into_owned(),
            created_at: stored.created_at,
            lifetime: stored.lifetime.into(),
            touched_at: stored.touched_at,
            due_at: stored.due_at,
            closed: stored.closed,
            closed_by: stored.closed_by.map(Into::into),
            stream_seq: stored.stream_seq.map(Cow::into_owned),
            fork: stored.fork.map(|fork| Box::new((*fork).into())),
            forks: stored.forks,
            soft_deleted: stored.soft_deleted,
            lives: stored.lives.into_iter().map(Into::into).collect(),
            renewed: stored.renewed,
            framing: stored.framing,
            retention: stored.retention.map(|retention| Box::new((*retention).into())),
        }
    }
}

/// A [`Lifetime`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum StoredLifetime {
    Unlimited,
    Ttl(u64),
    ExpiresAt(Millis),
}

impl From<Lifetime> for StoredLifetime {
    fn from(lifetime: Lifetime) -> Self {
        match lifetime {
            Lifetime::Unlimited => Self::Unlimited,
            Lifetime::Ttl(secs) => Self::Ttl(secs),
            Lifetime::ExpiresAt(at) => Self::ExpiresAt(at),
        }
    }
}

impl From<StoredLifetime> for Lifetime {
    fn from(stored: StoredLifetime) -> Self {
        match stored {
            StoredLifetime::Unlimited => Self::Unlimited,
            StoredLifetime::Ttl(secs) => Self::Ttl(secs),
            StoredLifetime::ExpiresAt(at) => Self::ExpiresAt(at),
        }
    }
}

/// A [`ProducerStamp`].
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredStamp<'a> {
    id: Cow<'a, str>,
    epoch: u64,
    seq: u64,
}

impl<'a> From<&'a ProducerStamp> for StoredStamp<'a> {
    fn from(stamp: &'a ProducerStamp) -> Self {
        Self {
            id: Cow::Borrowed(&stamp.id),
            epoch: stamp.epoch,
            seq: stamp.seq,
        }
    }
}

impl From<StoredStamp<'_>> for ProducerStamp {
    fn from(stored: StoredStamp<'_>) -> Self {
        Self {
            id: stored.id.into_owned(),
            epoch: stored.epoch,
            seq: stored.seq,
        }
    }
}

/// A [`Fork`].
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StoredFork<'a> {
    source: Cow<'a, StreamName>,
    source_id: StreamId,
    offset: Position,
    sub_offset: u64,
    lineage: Vec<StoredInherited>,
}

impl<'a> From<&'a Fork> for StoredFork<'a> {
    fn from(fork: &'a Fork) -> Self {
        Self {
            source: Cow::Borrowed(&fork.source),
            source_id: fork.source_id,
            offset: fork.offset,
            sub_offset: fork.sub_offset,
            lineage: fork.lineage.iter().copied().map(Into::into).collect(),
        }
    }
}

impl From<StoredFork<'_>> for Fork {
    fn from(stored: StoredFork<'_>) -> Self {
        Self {
            source: stored.source.into_owned(),
            source_id: stored.source_id,
            offset: stored.offset,
            sub_offset: stored.sub_offset,
            lineage: stored.lineage.into_iter().map(Into::into).collect(),
        }
    }
}

/// A [`Retention`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredRetention {
    policy: Option<StoredPolicy>,
    earliest: Position,
    given_up: Position,
    marks: Vec<StoredMark>,
    due_at: Option<Millis>,
}

impl From<&Retention> for StoredRetention {
    fn from(retention: &Retention) -> Self {
        Self {
            policy: retention.policy.map(Into::into),
            earliest: retention.earliest,
            given_up: retention.given_up,
            marks: retention.marks.iter().copied().map(Into::into).collect(),
            due_at: retention.due_at,
        }
    }
}

impl From<StoredRetention> for Retention {
    fn from(stored: StoredRetention) -> Self {
        Self {
            policy: stored.policy.map(Into::into),
            earliest: stored.earliest,
            given_up: stored.given_up,
            marks: stored.marks.into_iter().map(Into::into).collect(),
            due_at: stored.due_at,
        }
    }
}

/// A [`WriterState`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredWriter<'a> {
    progress: StoredProgress<'a>,
    used_at: Millis,
}

/// A [`Progress`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredProgress<'a> {
    Producer(StoredProducer),
    Sequence(Cow<'a, str>),
}

impl<'a> From<&'a WriterState> for StoredWriter<'a> {
    fn from(writer: &'a WriterState) -> Self {
        Self {
            progress: (&writer.progress).into(),
            used_at: writer.used_at,
        }
    }
}

impl From<StoredWriter<'_>> for WriterState {
    fn from(stored: StoredWriter<'_>) -> Self {
        Self {
            progress: stored.progress.into(),
            used_at: stored.used_at,
        }
    }
}

impl<'a> From<&'a Progress> for StoredProgress<'a> {
    fn from(progress: &'a Progress) -> Self {
        match progress {
            Progress::Producer(state) => Self::Producer((*state).into()),
            Progress::Sequence(seq) => Self::Sequence(Cow::Borrowed(seq)),
        }
    }
}

impl From<StoredProgress<'_>> for Progress {
    fn from(stored: StoredProgress<'_>) -> Self {
        match stored {
            StoredProgress::Producer(state) => Self::Producer(state.into()),
            StoredProgress::Sequence(seq) => Self::Sequence(seq.into()),
        }
    }
}

/// The stored form of plain structs, field by field.
macro_rules! stored_struct {
    ($(#[$meta:meta])* $visibility:vis $stored:ident = $plain:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Serialize, Deserialize)]
        $visibility struct $stored {
            $($field: $type),+
        }

        impl From<$plain> for $stored {
            fn from(plain: $plain) -> Self {
                Self { $($field: plain.$field),+ }
            }
        }

        impl From<$stored> for $plain {
            fn from(stored: $stored) -> Self {
                Self { $($field: stored.$field),+ }
            }
        }
    };
}

stored_struct!(
    /// A [`ProducerState`].
    pub(super) StoredProducer = ProducerState { epoch: u64, seq: u64 }
);
stored_struct!(
    /// A [`Life`].
    StoredLife = Life { incarnation: u64, end: Position }
);
stored_struct!(
    /// A [`Mark`].
    StoredMark = Mark { at: Millis, position: Position }
);
stored_struct!(
    /// A span that a fork inherits.
    StoredInherited = Inherited { id: StreamId, end: Position }
);
stored_struct!(
    /// A [`RetentionPolicy`].
    StoredPolicy = RetentionPolicy { max_age_secs: Option<u64>, max_bytes: Option<u64> }
);

#[cfg(test)]
mod tests;
