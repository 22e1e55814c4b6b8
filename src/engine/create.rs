//! Create, and fork (sections 4.2 and 5.1).

use std::sync::Arc;

use super::{
    Engine, delete,
    errors::{CreateError, ReadError, Unavailable},
    request::{Command, CreateRequest, Created, ForkPoint, ForkRequest, Outcome, PreparedCreate, PreparedFork},
    retention,
    stream::{Gone, Stream, deadline},
    transaction::{Slot, Staged, Transaction},
};
use crate::{
    protocol::{BadInput, ContentType, Kind, StreamName, content_type, json},
    storage::{Fork, Inherited, Lifetime, Position, Retention, StreamRecord},
};

/// How many streams one fork may read through.
const MAX_LINEAGE: usize = 256;

impl Engine {
    /// Creates a stream, or finds one that is as described.
    ///
    /// # Errors
    /// See [`CreateError`]; nothing was created then.
    pub async fn create(&self, name: &StreamName, request: CreateRequest) -> Result<Created, CreateError> {
        let CreateRequest {
            content_type,
            lifetime,
            retention,
            closed,
            body,
            fork,
        } = request;
        let fork = match fork {
            Some(request) => Some(self.prepare_fork(request).await?),
            None => None,
        };
        let inherited = fork
            .as_ref()
            .and_then(|fork| Some(&fork.at.as_ref().ok()?.source.content_type));
        let kind = content_type
            .as_ref()
            .or(inherited)
            .map_or(Kind::Binary, ContentType::kind);
        let data = self.stored_form(kind, body, true).await??;
        let create = PreparedCreate {
            content_type,
            lifetime,
            retention,
            closed,
            data,
            fork,
        };
        match self
            .submit(Command::Create {
                name: name.clone(),
                create,
            })
            .await?
        {
            Outcome::Created(result) => result,
            other => Err(other.unexpected().into()),
        }
    }

    /// Finds out where exactly a fork branches off. What is wrong with that is said later,
    /// because a fork that exists already is found even when its source is gone.
    async fn prepare_fork(&self, request: ForkRequest) -> Result<PreparedFork, Unavailable> {
        let at = match self.find(&request.source).await? {
            Some(source) => self.fork_point(source, &request).await,
            None => Err(CreateError::SourceNotFound),
        };
        Ok(PreparedFork { request, at })
    }

    async fn fork_point(&self, source: Arc<Stream>, request: &ForkRequest) -> Result<ForkPoint, CreateError> {
        let (record, tail, gone) = source.record();
        if gone.is_some() {
            return Err(CreateError::SourceSoftDeleted);
        }
        let offset = request.offset.unwrap_or(tail);
        if offset > tail {
            return Err(BadInput::new("Stream-Fork-Offset", "is behind the end of the stream to fork").into());
        }
        // The beginning is wherever there is one now.
        let from = if offset == 0 { record.earliest() } else { offset };
        if from < record.earliest() {
            return Err(given_up());
        }
        let position = self.resolve_sub_offset(&source, from, request.sub_offset, tail).await?;
        let lineage = lineage(&record, position);
        if lineage.len() > MAX_LINEAGE {
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
        Ok(ForkPoint { source, position, fork })
    }

    /// The position `sub_offset` messages (JSON) or bytes (others) behind `offset`.
    async fn resolve_sub_offset(
        &self,
        source: &Arc<Stream>,
        offset: Position,
        sub_offset: u64,
        tail: Position,
    ) -> Result<Position, CreateError> {
        let overshoots = || BadInput::new("Stream-Fork-Sub-Offset", "goes behind the end of the stream to fork");
        if source.content_type.kind() != Kind::Json {
            let position = offset.checked_add(sub_offset).filter(|position| *position <= tail);
            return Ok(position.ok_or_else(overshoots)?);
        }
        let (mut position, mut left) = (offset, sub_offset);
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
            if chunk.end >= tail {
                return Err(overshoots().into());
            }
            position = chunk.end;
        }
    }
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
        ReadError::GivenUp { .. } => given_up(),
        ReadError::NotFound | ReadError::Gone => CreateError::SourceNotFound,
        ReadError::Bad(bad) => BadInput::new("Stream-Fork-Offset", bad.reason).into(),
        ReadError::Unavailable(unavailable) => unavailable.into(),
    }
}

/// Whose bytes a fork of this stream reads below `position`.
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

pub(super) fn stage(
    tx: &mut Transaction<'_>,
    name: &StreamName,
    create: &PreparedCreate,
) -> Result<Created, CreateError> {
    if let Some(slot) = tx.find(name)? {
        let now = tx.context.now;
        if tx.get(slot).gone.is_none() && tx.get(slot).stream.expired(now) {
            delete::remove(tx, slot)?;
        }
        match tx.get(slot).gone {
            None => return compare(tx, slot, create),
            Some(Gone::SoftDeleted) => return Err(CreateError::SoftDeleted),
            Some(Gone::Deleted) => {}
        }
    }
    let fork = match &create.fork {
        Some(fork) => Some(stage_source(tx, create, fork)?),
        None => None,
    };
    check_limits(tx, create)?;
    let record = record(tx, create, fork)?;
    let slot = tx.stage_new(name, record);
    if !create.data.is_empty() {
        let before = tx.get(slot).tail;
        tx.get_mut(slot).append(create.data.clone());
        retention::appended(tx, slot, before);
    }
    Ok(answer(tx.get(slot), true))
}

/// Whether what exists is what was asked for (section 5.1).
fn compare(tx: &mut Transaction<'_>, slot: Slot, create: &PreparedCreate) -> Result<Created, CreateError> {
    let lifetime_differs = lifetime_differs(tx, slot, create)?;
    let existing = tx.get(slot);
    let record = &existing.record;
    let is_fork = create.fork.is_some();
    let content_type_differs = match &create.content_type {
        Some(content_type) => !content_type.matches(&existing.stream.content_type),
        None => !is_fork && !ContentType::default_type().matches(&existing.stream.content_type),
    };
    // No retention is what clients ask for that do not know of it, so it matches any.
    let policy = record.retention.as_ref().and_then(|past| past.policy);
    let retention_differs = create.retention.is_some() && create.retention != policy;
    let fork_differs = match (&record.fork, create.fork.as_ref().map(|fork| &fork.request)) {
        (None, None) => false,
        (Some(fork), Some(request)) => {
            fork.source != request.source
                || fork.sub_offset != request.sub_offset
                || request.offset.is_some_and(|offset| offset != fork.offset)
        }
        _ => true,
    };
    let differences = [
        (content_type_differs, "content type"),
        (lifetime_differs, "lifetime"),
        (retention_differs, "retention"),
        (create.closed != record.closed, "closed state"),
        (fork_differs, "origin"),
    ];
    match differences.iter().find(|(differs, _)| *differs) {
        Some((_, what)) => Err(CreateError::Exists(what)),
        None => Ok(answer(existing, false)),
    }
}

/// A fork that is asked for without a lifetime is one with its source's (section 4.2).
fn lifetime_differs(tx: &mut Transaction<'_>, slot: Slot, create: &PreparedCreate) -> Result<bool, Unavailable> {
    let record = Arc::clone(&tx.get(slot).record);
    let wanted = match (create.lifetime, &create.fork, &record.fork) {
        (Some(lifetime), ..) => lifetime,
        (None, None, _) => Lifetime::Unlimited,
        (None, Some(_), None) => return Ok(false),
        (None, Some(_), Some(fork)) => {
            let source = tx.find(&fork.source)?.map(|source| Arc::clone(&tx.get(source).record));
            match source.filter(|source| source.id == fork.source_id) {
                Some(source) => source.lifetime,
                None => return Ok(false),
            }
        }
    };
    Ok(wanted != record.lifetime)
}

/// Counts the fork on its source, which may have gone since the fork was prepared.
fn stage_source(
    tx: &mut Transaction<'_>,
    create: &PreparedCreate,
    fork: &PreparedFork,
) -> Result<(Slot, Position, Fork), CreateError> {
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
    Ok((slot, point.position, point.fork.clone()))
}

fn check_limits(tx: &Transaction<'_>, create: &PreparedCreate) -> Result<(), CreateError> {
    let limits = tx.context.limits;
    match (limits.max_stream_bytes, limits.max_streams) {
        (Some(limit), _) if create.data.len() as u64 > limit => Err(CreateError::TooLarge(limit)),
        (_, Some(limit)) if tx.streams() >= limit => Err(CreateError::TooManyStreams(limit)),
        _ => Ok(()),
    }
}

fn record(
    tx: &mut Transaction<'_>,
    create: &PreparedCreate,
    fork: Option<(Slot, Position, Fork)>,
) -> Result<StreamRecord, CreateError> {
    let now = tx.context.now;
    let id = tx.next_id()?;
    let mut start = 0;
    let mut inherited = None;
    let mut origin = None;
    let mut past = Retention::default();
    if let Some((slot, position, fork)) = fork {
        let source = tx.get_mut(slot).record_mut();
        source.forks += 1;
        inherited = Some((source.content_type.clone(), source.lifetime));
        past.policy = source.retention.as_ref().and_then(|past| past.policy);
        past.earliest = source.earliest();
        start = position;
        origin = Some(fork);
    }
    // Below that the source may have nothing any more.
    past.given_up = past.earliest;
    past.policy = create.retention.or(past.policy);
    let (source_type, source_lifetime) = inherited.unzip();
    let given_type = create.content_type.as_ref().map(|given| given.as_str().to_owned());
    let lifetime = create.lifetime.or(source_lifetime).unwrap_or(Lifetime::Unlimited);
    Ok(StreamRecord {
        id,
        start,
        content_type: given_type
            .or(source_type)
            .unwrap_or_else(|| content_type::DEFAULT.to_owned()),
        created_at: now,
        lifetime,
        touched_at: now,
        due_at: deadline(lifetime, now),
        closed: create.closed,
        closed_by: None,
        stream_seq: None,
        fork: origin,
        forks: 0,
        soft_deleted: false,
        retention: (past != Retention::default()).then(|| Box::new(past)),
    })
}

fn answer(staged: &Staged, new: bool) -> Created {
    Created {
        new,
        content_type: staged.record.content_type.clone(),
        tail: staged.tail,
        closed: staged.record.closed,
    }
}
