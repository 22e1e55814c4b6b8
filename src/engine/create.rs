//! Create (section 5.1).

use std::sync::Arc;

use super::{
    Engine, delete,
    errors::{CreateError, Unavailable},
    fork::{MAX_LINEAGE, fork_of, is_at, stage_source},
    request::{Command, CreateRequest, Created, Outcome, PreparedCreate},
    retention,
    stream::{Gone, deadline},
    transaction::{Slot, Staged, Transaction},
};
use crate::{
    protocol::{BadInput, ContentType, Framing, History, Kind, Lifetime, StreamName},
    storage::{Life, Retention, StreamId, StreamRecord},
};

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
            past,
        } = request;
        if fork.is_some() && past.is_some() {
            let reason = "cannot be combined with Stream-Forked-From: a fork goes on from its source's";
            return Err(BadInput::new("Stream-Lives", reason).into());
        }
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
            past,
        };
        match self
            .submit(Command::Create {
                name: name.clone(),
                create: Box::new(create),
            })
            .await?
        {
            Outcome::Created(result) => result,
            other => Err(other.unexpected().into()),
        }
    }
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
    let before = tx.get(slot).tail;
    let staged = tx.get_mut(slot);
    staged.append(create.prefix());
    staged.append(create.data.clone());
    if tx.get(slot).tail > before {
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
                || request.offset.is_some_and(|offset| !is_at(record, fork, offset))
        }
        _ => true,
    };
    let past_differs = create.past.as_ref().is_some_and(|past| {
        let lives = record.lives.iter().map(|life| record.offset(life.end));
        !lives.eq(past.lives.iter().copied())
    });
    let differences = [
        (content_type_differs, "content type"),
        (lifetime_differs, "lifetime"),
        (retention_differs, "retention"),
        (create.closed != record.closed, "closed state"),
        (fork_differs, "origin"),
        (past_differs, "past"),
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

fn check_limits(tx: &Transaction<'_>, create: &PreparedCreate) -> Result<(), CreateError> {
    let limits = tx.context.limits;
    let len = (create.prefix().len() + create.data.len()) as u64;
    match (limits.max_stream_bytes, limits.max_streams) {
        (Some(limit), _) if len > limit => Err(CreateError::TooLarge(limit)),
        (_, Some(limit)) if tx.streams() >= limit => Err(CreateError::TooManyStreams(limit)),
        _ => Ok(()),
    }
}

fn record(
    tx: &mut Transaction<'_>,
    create: &PreparedCreate,
    source: Option<Slot>,
) -> Result<StreamRecord, CreateError> {
    let now = tx.context.now;
    let lives = create.past.iter().flat_map(|past| &past.lives);
    let latest = lives.map(|life| life.incarnation).max().unwrap_or(0);
    let id = tx.next_id(latest)?;
    let mut record = match source {
        Some(slot) => fork_of(tx.get_mut(slot).record_mut(), create),
        None => blank(create),
    };
    if let Some(past) = &create.past {
        go_on_from(past, &mut record, id)?;
    }
    let mut past = record.retention.take().map(|past| *past).unwrap_or_default();
    // Data below that may have been trimmed.
    past.given_up = past.earliest;
    past.policy = create.retention.or(past.policy);
    let lifetime = create.lifetime.unwrap_or(record.lifetime);
    Ok(StreamRecord {
        id,
        created_at: now,
        lifetime,
        touched_at: now,
        due_at: deadline(lifetime, now),
        closed: create.closed,
        retention: (past != Retention::default()).then(|| Box::new(past)),
        ..record
    })
}

/// How the new stream keeps its appends: as its source does, or apart where they are not messages.
fn framing(create: &PreparedCreate) -> Framing {
    if let Some(Ok(point)) = create.fork.as_ref().map(|fork| &fork.at) {
        return point.source.record().framing;
    }
    match create.content_type.as_ref().map_or(Kind::Binary, ContentType::kind) {
        Kind::Json => Framing::NONE,
        Kind::Text | Kind::Binary => Framing::NEW,
    }
}

/// A stream of which nothing is known but its content type.
pub(super) fn blank(create: &PreparedCreate) -> StreamRecord {
    let content_type = create.content_type.clone().unwrap_or_else(ContentType::default_type);
    StreamRecord {
        id: 0,
        start: 0,
        content_type: content_type.as_str().to_owned(),
        created_at: 0,
        lifetime: Lifetime::Unlimited,
        touched_at: 0,
        due_at: None,
        closed: false,
        closed_by: None,
        stream_seq: None,
        fork: None,
        forks: 0,
        soft_deleted: false,
        lives: Vec::new(),
        renewed: None,
        framing: framing(create),
        retention: None,
    }
}

/// Gives an imported stream the offsets of the one that was exported. What is appended after the
/// import has offsets of a life of its own, so that they are never mistaken for others that the
/// exported stream has handed out since.
fn go_on_from(past: &History, record: &mut StreamRecord, id: StreamId) -> Result<(), BadInput> {
    let bad = |reason: String| BadInput::new("Stream-Lives", reason);
    if past.lives.len() > MAX_LINEAGE {
        return Err(bad(format!("names more than {MAX_LINEAGE} offsets")));
    }
    for life in &past.lives {
        if record
            .lives
            .last()
            .is_some_and(|last| last.incarnation >= life.incarnation || last.end > life.position)
        {
            return Err(bad("must name offsets in their order, one of each life".into()));
        }
        if life.incarnation >= id {
            return Err(bad(
                "names a life that is later than this server's time; set the server's clock".into(),
            ));
        }
        record.lives.push(Life {
            incarnation: life.incarnation,
            end: life.position,
        });
    }
    let Some(begin) = past.earliest else { return Ok(()) };
    if record.lives.last().is_none_or(|last| begin.position > last.end) || !record.gave_out(begin) {
        let reason = "must be an offset of the lives that Stream-Lives names";
        return Err(BadInput::new("Stream-Earliest-Offset", reason));
    }
    record.start = begin.position;
    record.retention = Some(Box::new(Retention {
        earliest: begin.position,
        ..Retention::default()
    }));
    Ok(())
}

fn answer(staged: &Staged, new: bool) -> Created {
    Created {
        new,
        content_type: staged.record.content_type.clone(),
        tail: staged.offset(),
        closed: staged.record.closed,
    }
}
