//! Fork (section 4.2): where exactly a fork branches off, and what it inherits.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine,
    errors::Unavailable,
    load::{self, AppendAt},
    read_error::ReadError,
    snapshot::{Gone, Snapshot},
    stream::Stream,
    transaction::{Slot, Transaction},
};
use crate::{
    protocol::{ContentType, Kind, Offset, StreamName, json},
    storage::{Fork, Inherited, Life, Position, Retention, StreamRecord},
};

/// How many streams one fork may read through, and how many lives it may continue.
pub(super) const MAX_LINEAGE: usize = 256;

/// Where a new stream branches off (section 4.2).
#[derive(Debug, Clone)]
pub struct ForkRequest {
    /// The stream to fork.
    pub source: StreamName,
    /// Where; `None`: at its tail.
    pub offset: Option<Offset>,
    /// How many messages (JSON) or bytes (others) after that.
    pub sub_offset: u64,
}

/// Why a stream cannot be forked as requested.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ForkError {
    /// There is nothing to fork: create the source first.
    #[error("the source stream does not exist")]
    SourceNotFound,
    /// The source was deleted: it can be read through its forks only.
    #[error("the source stream was deleted")]
    SourceDeleted,
    /// A fork has its source's content type: leave it out.
    #[error("the source stream has content type {0}")]
    ContentType(String),
    /// The offset was not issued for the source in its present life.
    #[error("belongs to another stream, or to an earlier stream of the source's name")]
    ForeignOffset,
    /// The source does not reach as far as the offset.
    #[error("is past the end of the source stream")]
    PastEnd,
    /// The source's retention has removed the data at the offset.
    #[error("is before the earliest position that the source stream keeps")]
    Trimmed,
    /// No message of the source begins at the offset.
    #[error("{0}")]
    NoBoundary(String),
    /// The append at the offset, or the source, is shorter than that.
    #[error("goes past the end of the append, or of the source stream")]
    SubOffset,
    /// The fork would read through too many streams.
    #[error("is a fork of a fork more than {MAX_LINEAGE} levels deep")]
    TooDeep,
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ReadError> for ForkError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Trimmed { .. } => Self::Trimmed,
            ReadError::NotFound | ReadError::Gone => Self::SourceNotFound,
            ReadError::OtherLife { .. } => Self::ForeignOffset,
            ReadError::InvalidOffset => Self::NoBoundary(error.to_string()),
            ReadError::Unavailable(unavailable) => Self::Unavailable(unavailable),
        }
    }
}

pub(super) struct PreparedFork {
    pub(super) request: ForkRequest,
    /// Where to fork, or why that is impossible. Reported by the committer, because a fork that
    /// already exists is found even if its source is gone.
    pub(super) point: Result<ForkPoint, ForkError>,
}

pub(super) struct ForkPoint {
    source: Arc<Stream>,
    position: Position,
    /// The part of the following append that belongs to the fork (section 4.2, sub-offset).
    prefix: Bytes,
    lives: Vec<Life>,
    fork: Fork,
}

impl Engine {
    /// Finds out where exactly a fork branches off.
    pub(super) async fn prepare_fork(&self, request: ForkRequest) -> Result<PreparedFork, Unavailable> {
        let point = match self.find_fresh(&request.source).await? {
            Some(source) => self.fork_point(source, &request).await,
            None => Err(ForkError::SourceNotFound),
        };
        Ok(PreparedFork { request, point })
    }

    async fn fork_point(&self, source: Arc<Stream>, request: &ForkRequest) -> Result<ForkPoint, ForkError> {
        let Snapshot { record, tail, gone, .. } = source.snapshot();
        if gone.is_some() {
            return Err(ForkError::SourceDeleted);
        }
        let offset = match request.offset {
            None => tail,
            Some(Offset::BEGINNING) => 0,
            Some(offset) if !record.gave_out(offset) => return Err(ForkError::ForeignOffset),
            Some(offset) => offset.position,
        };
        if offset > tail {
            return Err(ForkError::PastEnd);
        }
        // `BEGINNING` means the current earliest position.
        let from = if offset == 0 { record.earliest() } else { offset };
        if from < record.earliest() {
            return Err(ForkError::Trimmed);
        }
        let (position, prefix) = self.resolve_sub_offset(&source, from, request.sub_offset, tail).await?;
        let (lineage, lives) = (lineage(&record, position), lives(&record, position));
        if lineage.len().max(lives.len()) > MAX_LINEAGE {
            return Err(ForkError::TooDeep);
        }
        let fork = Fork {
            source: request.source.clone(),
            source_id: record.id,
            offset,
            sub_offset: request.sub_offset,
            lineage,
        };
        Ok(ForkPoint {
            source,
            position,
            prefix,
            lives,
            fork,
        })
    }

    /// The position `sub_offset` messages (JSON) or bytes (others) after `offset`. If that lies
    /// within an append, the position where the append begins, and its part before that.
    async fn resolve_sub_offset(
        &self,
        source: &Arc<Stream>,
        offset: Position,
        sub_offset: u64,
        tail: Position,
    ) -> Result<(Position, Bytes), ForkError> {
        if source.content_type.kind() == Kind::Json {
            let position = self.after_messages(source, offset, sub_offset, tail).await?;
            return Ok((position, Bytes::new()));
        }
        if !source.record().framing.is_framed() {
            let position = offset.checked_add(sub_offset).filter(|position| *position <= tail);
            return Ok((position.ok_or(ForkError::SubOffset)?, Bytes::new()));
        }
        if offset == tail {
            return match sub_offset {
                0 => Ok((tail, Bytes::new())),
                _ => Err(ForkError::SubOffset),
            };
        }
        let append = self.append_at(source, offset, tail, sub_offset).await?;
        if sub_offset > append.len {
            return Err(ForkError::SubOffset);
        }
        Ok(match sub_offset == append.len {
            true => (append.end, Bytes::new()),
            false => (offset, append.first),
        })
    }

    async fn append_at(
        &self,
        source: &Arc<Stream>,
        at: Position,
        tail: Position,
        max_len: u64,
    ) -> Result<AppendAt, ReadError> {
        let (storage, source) = (Arc::clone(&self.shared.storage), Arc::clone(source));
        let read = move || load::append_at(&*storage, &source, at, tail, max_len);
        match self.shared.storage.blocking() {
            true => self.blocking(read).await?,
            false => read(),
        }
    }

    /// The position `count` messages after `position`.
    async fn after_messages(
        &self,
        source: &Arc<Stream>,
        mut position: Position,
        count: u64,
        tail: Position,
    ) -> Result<Position, ForkError> {
        let mut left = count;
        loop {
            // Reading checks that a message starts here.
            let chunk = self.chunk(source, position, tail).await?;
            if left == 0 {
                return Ok(position);
            }
            match json::end_of(left, chunk.stored()) {
                Ok(end) => return Ok(position + end as u64),
                Err(found) => left -= found,
            }
            if chunk.end.position >= tail {
                return Err(ForkError::SubOffset);
            }
            position = chunk.end.position;
        }
    }
}

/// The streams whose bytes a fork of this stream reads below `position`.
fn lineage(source: &StreamRecord, position: Position) -> Vec<Inherited> {
    let inherited = source.fork.iter().flat_map(|fork| fork.lineage.iter().copied());
    let own = (position > source.start).then_some(Inherited {
        id: source.id,
        end: position,
    });
    let mut lineage: Vec<Inherited> = Vec::new();
    for part in inherited.chain(own) {
        let begins = lineage.last().map_or(0, |part| part.end);
        let end = part.end.min(position);
        if end > begins {
            lineage.push(Inherited { id: part.id, end });
        }
    }
    lineage
}

/// The lives that issued the positions of a fork of this stream up to `position`, including the
/// first position, which a fork at the beginning shares.
fn lives(source: &StreamRecord, position: Position) -> Vec<Life> {
    let own = Life {
        incarnation: source.incarnation(),
        end: position,
    };
    let mut lives: Vec<Life> = Vec::new();
    for life in source.lives.iter().copied().chain([own]) {
        let end = life.end.min(position);
        if lives.last().is_none_or(|last| end > last.end) {
            lives.push(Life { end, ..life });
        }
    }
    lives
}

impl PreparedFork {
    /// The source's content type, if there is a source.
    pub(super) fn content_type(&self) -> Option<&ContentType> {
        Some(&self.point.as_ref().ok()?.source.content_type)
    }

    /// The part of its source's append that the fork begins with.
    pub(super) fn prefix(&self) -> Bytes {
        let point = self.point.as_ref().ok();
        point.map_or_else(Bytes::new, |point| point.prefix.clone())
    }

    /// Whether an existing fork, with this record, branches off where this one would.
    pub(super) fn is_at(&self, record: &StreamRecord, fork: &Fork) -> bool {
        let is_offset = |offset| match offset {
            Offset::BEGINNING => fork.offset == 0,
            offset => offset == record.offset(fork.offset),
        };
        fork.source == self.request.source
            && fork.sub_offset == self.request.sub_offset
            && self.request.offset.is_none_or(is_offset)
    }

    /// Stages the source, which may have changed since the fork was prepared.
    pub(super) fn stage_source(
        &self,
        tx: &mut Transaction<'_>,
        content_type: Option<&ContentType>,
    ) -> Result<(Slot, &ForkPoint), ForkError> {
        let point = self.point.as_ref().map_err(Clone::clone)?;
        let slot = tx.stage(&point.source);
        match tx.get(slot).gone {
            Some(Gone::Deleted) => return Err(ForkError::SourceNotFound),
            Some(Gone::Outdated) => return Err(Unavailable::Raced.into()),
            Some(Gone::SoftDeleted) => return Err(ForkError::SourceDeleted),
            None => {}
        }
        if point.position < tx.get(slot).record.earliest() {
            return Err(ForkError::Trimmed);
        }
        let expected = &point.source.content_type;
        if content_type.is_some_and(|given| !given.matches(expected)) {
            return Err(ForkError::ContentType(expected.as_str().to_owned()));
        }
        Ok((slot, point))
    }
}

impl ForkPoint {
    /// The greatest incarnation in the offsets that a fork begins with.
    pub(super) fn last_incarnation(&self) -> u64 {
        self.lives.last().map_or(0, |life| life.incarnation)
    }

    /// Makes `record`, which is that of a new stream, a fork of `source`.
    pub(super) fn inherit(&self, source: &StreamRecord, record: StreamRecord) -> StreamRecord {
        StreamRecord {
            start: self.position,
            lives: self.lives.clone(),
            fork: Some(Box::new(self.fork.clone())),
            framing: source.framing,
            retention: Some(Box::new(Retention {
                policy: source.retention.as_ref().and_then(|retention| retention.policy),
                earliest: source.earliest(),
                ..Retention::default()
            })),
            ..record
        }
    }
}
