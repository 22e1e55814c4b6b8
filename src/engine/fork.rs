//! Fork (section 4.2).

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine,
    create::blank,
    errors::{CreateError, Unavailable},
    load::{self, AppendAt},
    read_error::ReadError,
    request::{ForkPoint, ForkRequest, PreparedCreate, PreparedFork},
    stream::{Gone, Snapshot, Stream},
    transaction::{Slot, Transaction},
};
use crate::{
    protocol::{BadInput, Kind, Offset, json},
    storage::{Fork, Inherited, Life, Position, Retention, StreamRecord},
};

/// How many streams one fork may read through, and how many lives it may go on from.
pub(super) const MAX_LINEAGE: usize = 256;

impl Engine {
    /// Finds out where exactly a fork branches off. What is wrong with that is said later,
    /// because a fork that exists already is found even when its source is gone.
    pub(super) async fn prepare_fork(&self, request: ForkRequest) -> Result<PreparedFork, Unavailable> {
        let at = match self.find(&request.source).await? {
            Some(source) => self.fork_point(source, &request).await,
            None => Err(CreateError::SourceNotFound),
        };
        Ok(PreparedFork { request, at })
    }

    async fn fork_point(&self, source: Arc<Stream>, request: &ForkRequest) -> Result<ForkPoint, CreateError> {
        let Snapshot { record, tail, gone } = source.snapshot();
        if gone.is_some() {
            return Err(CreateError::SourceSoftDeleted);
        }
        let offset = match request.offset {
            None => tail,
            Some(Offset::BEGINNING) => 0,
            Some(offset) if !record.gave_out(offset) => {
                let reason = "is not of the stream to fork, or of an earlier stream of its name";
                return Err(BadInput::new("Stream-Fork-Offset", reason).into());
            }
            Some(offset) => offset.position,
        };
        if offset > tail {
            return Err(BadInput::new("Stream-Fork-Offset", "is beyond the end of the stream to fork").into());
        }
        // The beginning is wherever there is one now.
        let from = if offset == 0 { record.earliest() } else { offset };
        if from < record.earliest() {
            return Err(given_up());
        }
        let (position, prefix) = self.resolve_sub_offset(&source, from, request.sub_offset, tail).await?;
        let (lineage, lives) = (lineage(&record, position), lives(&record, position));
        if lineage.len().max(lives.len()) > MAX_LINEAGE {
            let reason = format!("is a fork of a fork more than {MAX_LINEAGE} levels deep");
            return Err(BadInput::new("Stream-Forked-From", reason).into());
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

    /// The position `sub_offset` messages (JSON) or bytes (others) after `offset`. Where that lies
    /// inside of an append, the position where the append begins, and the part of it that comes
    /// before.
    async fn resolve_sub_offset(
        &self,
        source: &Arc<Stream>,
        offset: Position,
        sub_offset: u64,
        tail: Position,
    ) -> Result<(Position, Bytes), CreateError> {
        if source.content_type.kind() == Kind::Json {
            let position = self.after_messages(source, offset, sub_offset, tail).await?;
            return Ok((position, Bytes::new()));
        }
        if !source.record().framing.is_framed() {
            let position = offset.checked_add(sub_offset).filter(|position| *position <= tail);
            return Ok((position.ok_or_else(overshoots)?, Bytes::new()));
        }
        if offset == tail {
            return match sub_offset {
                0 => Ok((tail, Bytes::new())),
                _ => Err(overshoots()),
            };
        }
        let append = self.append_at(source, offset, tail, sub_offset).await;
        let append = append.map_err(fork_read_error)?;
        if sub_offset > append.len {
            return Err(overshoots());
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
        most: u64,
    ) -> Result<AppendAt, ReadError> {
        let (storage, source) = (Arc::clone(&self.shared.storage), Arc::clone(source));
        let read = move || load::append_at(&*storage, &source, at, tail, most);
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
    ) -> Result<Position, CreateError> {
        let mut left = count;
        loop {
            // Reading checks that a message starts here.
            let chunk = self.chunk(source, position, tail).await.map_err(fork_read_error)?;
            if left == 0 {
                return Ok(position);
            }
            match json::end_of(left, chunk.stored()) {
                Ok(end) => return Ok(position + end as u64),
                Err(found) => left -= found,
            }
            if chunk.end.position >= tail {
                return Err(overshoots());
            }
            position = chunk.end.position;
        }
    }
}

fn overshoots() -> CreateError {
    let reason = "goes beyond the append, or the end, that follows Stream-Fork-Offset";
    BadInput::new("Stream-Fork-Sub-Offset", reason).into()
}

fn given_up() -> CreateError {
    BadInput::new(
        "Stream-Fork-Offset",
        "is before the earliest position that the stream to fork keeps",
    )
    .into()
}

fn fork_read_error(error: ReadError) -> CreateError {
    match error {
        ReadError::Trimmed { .. } => given_up(),
        ReadError::NotFound | ReadError::Gone => CreateError::SourceNotFound,
        ReadError::InvalidOffset => BadInput::new("Stream-Fork-Offset", error.to_string()).into(),
        ReadError::OtherLife { .. } => BadInput::new("Stream-Fork-Offset", error.to_string()).into(),
        ReadError::Unavailable(unavailable) => unavailable.into(),
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

/// Which lives have handed out the positions of a fork of this stream up to `position`. That is
/// also known of the first position, which a fork at the beginning shares.
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

/// Whether a fork branches off at this offset.
pub(super) fn is_at(record: &StreamRecord, fork: &Fork, offset: Offset) -> bool {
    match offset {
        Offset::BEGINNING => fork.offset == 0,
        offset => offset == record.offset(fork.offset),
    }
}

/// Counts the fork on its source, which may have gone since the fork was prepared.
pub(super) fn stage_source(
    tx: &mut Transaction<'_>,
    create: &PreparedCreate,
    fork: &PreparedFork,
) -> Result<Slot, CreateError> {
    let point = fork.at.as_ref().map_err(Clone::clone)?;
    let slot = tx.stage(&point.source);
    match tx.get(slot).gone {
        Some(Gone::Deleted) => return Err(CreateError::SourceNotFound),
        Some(Gone::SoftDeleted) => return Err(CreateError::SourceSoftDeleted),
        None => {}
    }
    if point.position < tx.get(slot).record.earliest() {
        return Err(given_up());
    }
    let expected = &point.source.content_type;
    if create
        .content_type
        .as_ref()
        .is_some_and(|given| !given.matches(expected))
    {
        return Err(CreateError::SourceContentType(expected.as_str().to_owned()));
    }
    Ok(slot)
}

/// The record of a fork, made from that of its source, whose count of forks grows by one.
pub(super) fn fork_of(source: &mut StreamRecord, create: &PreparedCreate) -> StreamRecord {
    source.forks += 1;
    let mut record = StreamRecord {
        lifetime: source.lifetime,
        retention: Some(Box::new(Retention {
            policy: source.retention.as_ref().and_then(|past| past.policy),
            earliest: source.earliest(),
            ..Retention::default()
        })),
        ..blank(create)
    };
    if create.content_type.is_none() {
        record.content_type.clone_from(&source.content_type);
    }
    if let Some(Ok(point)) = create.fork.as_ref().map(|fork| &fork.at) {
        record.start = point.position;
        record.lives.clone_from(&point.lives);
        record.fork = Some(Box::new(point.fork.clone()));
    }
    record
}

impl PreparedCreate {
    /// The part of its source's append that a fork begins with.
    pub(super) fn prefix(&self) -> Bytes {
        let point = self.fork.as_ref().and_then(|fork| fork.at.as_ref().ok());
        point.map_or_else(Bytes::new, |point| point.prefix.clone())
    }
}
