//! The metadata that a store keeps for each stream besides its bytes.
//!
//! Several fields belong to the protocol (content type, lifetime, producers, sequences). A store
//! keeps them as they are given and never looks inside.

use rustc_hash::FxHashMap;

use crate::protocol::{Framing, Lifetime, Millis, Offset, ProducerStamp, RetentionPolicy, StreamName};

/// Identifies a stream's bytes.
///
/// An id is greater than those of all streams created before and is never reused, so a stream
/// that is deleted and created again shares nothing with its predecessor.
pub type StreamId = u64;

/// A map by id. Stores choose ids, so no client can make them collide.
pub type IdMap<V> = FxHashMap<StreamId, V>;

/// A byte position in a stream. The first byte has position 0.
pub type Position = u64;

/// A stream's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    /// The id of the stream's bytes.
    pub id: StreamId,
    /// The position of its first own byte: 0, or the fork point.
    pub start: Position,
    /// The content type as given at creation.
    pub content_type: String,
    /// Creation time.
    pub created_at: Millis,
    /// When the stream expires.
    pub lifetime: Lifetime,
    /// The last read or write that was saved, for a sliding lifetime.
    pub touched_at: Millis,
    /// When [`Storage::due`](super::Storage::due) returns this stream; `None`: never.
    pub due_at: Option<Millis>,
    /// Whether the stream refuses appends.
    pub closed: bool,
    /// The producer request that closed it.
    pub closed_by: Option<ProducerStamp>,
    /// The last `Stream-Seq`.
    pub stream_seq: Option<String>,
    /// The stream it was forked from. Boxed, because most streams are not forks.
    pub fork: Option<Box<Fork>>,
    /// The number of streams forked from it.
    pub forks: u32,
    /// Deleted by its owner but kept for its forks.
    pub soft_deleted: bool,
    /// Earlier lives whose positions this one continues, in order. A fork has its source's lives,
    /// an imported stream those of the exported one.
    pub lives: Vec<Life>,
    /// The stream's own incarnation if it differs from the id: after a repair that lost its end.
    pub renewed: Option<u64>,
    /// The delimiting of appends.
    pub framing: Framing,
    /// Retention state. Boxed, because most streams keep everything.
    pub retention: Option<Box<Retention>>,
}

impl StreamRecord {
    /// The position of the first own byte that is kept. The store frees the bytes below it later
    /// (see [`Storage::maintain`](super::Storage::maintain)).
    #[must_use]
    pub fn first(&self) -> Position {
        let trimmed_below = self.retention.as_ref().map_or(0, |retention| retention.given_up);
        self.start.max(trimmed_below)
    }

    /// The earliest readable position.
    #[must_use]
    pub fn earliest(&self) -> Position {
        self.retention.as_ref().map_or(0, |retention| retention.earliest)
    }

    /// The incarnation of positions past the end of all earlier lives.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.renewed.unwrap_or(self.id)
    }

    /// The offset of a position, in the life that issued it.
    #[must_use]
    pub fn offset(&self, position: Position) -> Offset {
        let earlier = self.lives.iter().find(|life| position <= life.end);
        let incarnation = earlier.map_or(self.incarnation(), |life| life.incarnation);
        Offset { incarnation, position }
    }

    /// Whether this stream, in one of its lives, issued an offset.
    #[must_use]
    pub fn gave_out(&self, offset: Offset) -> bool {
        self.offset(offset.position) == offset
    }
}

/// Positions issued by an earlier life of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Its incarnation.
    pub incarnation: u64,
    /// Its last position. The next life begins after it.
    pub end: Position,
}

/// A stream's retention policy and the extent of its trimming.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// The policy given at creation; `None`: the configured policy for its name.
    pub policy: Option<RetentionPolicy>,
    /// The earliest readable position.
    pub earliest: Position,
    /// No reader or fork can reach below this position. It never decreases.
    pub given_up: Position,
    /// Tails at earlier times, oldest first, to trim by age.
    pub marks: Vec<Mark>,
    /// When to check again.
    pub due_at: Option<Millis>,
}

/// Every byte below `position` was written by the time `at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The time.
    pub at: Millis,
    /// The tail at that time.
    pub position: Position,
}

/// The origin of a fork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// The source stream.
    pub source: StreamName,
    /// The source's id. A later stream of the same name is not the source.
    pub source_id: StreamId,
    /// The resolved `Stream-Fork-Offset`, without the sub-offset.
    pub offset: Position,
    /// `Stream-Fork-Sub-Offset`.
    pub sub_offset: u64,
    /// The streams that hold the bytes below the fork's own start, in order. Each entry begins at
    /// the end of the previous one.
    pub lineage: Vec<Inherited>,
}

/// Bytes that a fork reads from another stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    /// The stream that holds them.
    pub id: StreamId,
    /// Their end, exclusive.
    pub end: Position,
}

/// An idempotent producer's last accepted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerState {
    /// Its epoch.
    pub epoch: u64,
    /// The highest accepted sequence number of that epoch.
    pub seq: u64,
}

/// The state of one of a stream's writers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterState {
    /// The last accepted request.
    pub progress: Progress,
    /// The time of its last write; 0 if unknown.
    pub used_at: Millis,
}

/// A writer's last accepted request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The state of an idempotent producer.
    Producer(ProducerState),
    /// The last `Stream-Seq` of a writer that has sequences of its own.
    Sequence(Box<str>),
}

impl WriterState {
    /// The bytes that a writer occupies besides its key.
    pub const OVERHEAD: u64 = 128;

    /// The bytes that it occupies under `key`, in memory and on disk.
    #[must_use]
    pub fn size(&self, key: &str) -> u64 {
        let text = match &self.progress {
            Progress::Producer(_) => 0,
            Progress::Sequence(seq) => seq.len(),
        };
        Self::OVERHEAD + (key.len() + text) as u64
    }
}

/// A record and the end of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The record.
    pub record: StreamRecord,
    /// The position after the last byte; [`StreamRecord::first`] if the stream has no bytes.
    pub tail: Position,
    /// The revision of the record in a shared store: each [`Change::Put`](super::Change::Put) raises
    /// it. 0 in a store that is not shared.
    pub rev: u64,
}

impl Stored {
    /// Whether this is the stream of an id, with its bytes from a position on.
    pub(crate) fn has(&self, id: StreamId, from: Position) -> bool {
        self.record.id == id && self.record.earliest() <= from
    }
}

/// The contents of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The number of streams.
    pub streams: u64,
    /// The bytes of all streams from [`StreamRecord::first`] on, as stored. May be approximate.
    pub bytes: u64,
}
