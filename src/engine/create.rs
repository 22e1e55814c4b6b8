//! Create (section 5.1).

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine,
    command::Command,
    delete,
    errors::Unavailable,
    fork::{ForkError, ForkPoint, ForkRequest, MAX_LINEAGE, PreparedFork},
    snapshot::Gone,
    staged::Staged,
    transaction::{Landings, Slot, Transaction},
    trim,
};
use crate::{
    protocol::{BadInput, ContentType, Framing, History, Kind, Lifetime, Offset, RetentionPolicy, StreamName},
    storage::{Life, Retention, StreamId, StreamRecord},
};

/// Creates a stream, or finds one that is as described.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// `None`: the default, or the source's.
    pub content_type: Option<ContentType>,
    /// `None`: unlimited, or as the source.
    pub lifetime: Option<Lifetime>,
    /// `None`: what the configuration says, or as the source.
    pub retention: Option<RetentionPolicy>,
    /// Created closed.
    pub closed: bool,
    /// The first content, as it was received.
    pub body: Bytes,
    /// Branches off another stream.
    pub fork: Option<ForkRequest>,
    /// Continues the offsets of a stream that was exported.
    pub past: Option<History>,
}

/// The stream exists, as described.
#[derive(Debug, Clone)]
pub struct Created {
    /// Whether this request created it.
    pub new: bool,
    /// Its content type.
    pub content_type: String,
    /// Its tail.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    id: StreamId,
}

/// Why a stream was not created.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CreateError {
    /// It exists with another configuration: choose another name, or ask for the existing one.
    #[error("a stream of this name exists already, and its {0} differs")]
    Exists(&'static str),
    /// It was deleted and is kept for its forks: choose another name.
    #[error("a stream of this name was deleted and is kept for its forks")]
    SoftDeleted,
    /// It cannot be a fork of that source.
    #[error(transparent)]
    Fork(#[from] ForkError),
    /// It cannot continue those offsets.
    #[error(transparent)]
    Past(#[from] PastError),
    /// The initial content exceeds the maximum size of a stream.
    #[error("the stream would be larger than {0} bytes")]
    TooLarge(u64),
    /// The store holds as many streams as it may: delete some.
    #[error("there are {0} streams already, which is the limit")]
    TooManyStreams(u64),
    /// The body itself is wrong.
    #[error(transparent)]
    Bad(#[from] BadInput),
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a stream cannot continue the offsets of an exported one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PastError {
    /// A fork continues its source's.
    #[error("cannot be combined with a fork, which continues its source's offsets")]
    Fork,
    /// A stream continues at most [`MAX_LINEAGE`] lives.
    #[error("names more than {MAX_LINEAGE} offsets")]
    TooMany,
    /// They are out of order, or two are of one life.
    #[error("must name offsets in their order, one of each life")]
    Order,
    /// Its new offsets could not be told from those of the exported stream.
    #[error("names a life that is later than this server's time; set the server's clock")]
    Future,
    /// The earliest offset is not one of those lives.
    #[error("must be an offset of the lives that the stream continues")]
    Earliest,
}

/// A create whose parts that need no ordering are done.
struct Create {
    name: StreamName,
    content_type: Option<ContentType>,
    lifetime: Option<Lifetime>,
    retention: Option<RetentionPolicy>,
    closed: bool,
    data: Bytes,
    fork: Option<PreparedFork>,
    past: Option<History>,
}

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
            return Err(PastError::Fork.into());
        }
        let fork = match fork {
            Some(request) => Some(self.prepare_fork(request).await?),
            None => None,
        };
        let inherited = fork.as_ref().and_then(PreparedFork::content_type);
        let kind = content_type
            .as_ref()
            .or(inherited)
            .map_or(Kind::Binary, ContentType::kind);
        let data = self.stored_form(kind, body, true).await??;
        let create = Create {
            name: name.clone(),
            content_type,
            lifetime,
            retention,
            closed,
            data,
            fork,
            past,
        };
        self.submit(create).await?
    }
}

impl Command for Create {
    type Reply = Result<Created, CreateError>;

    fn bytes(&self) -> usize {
        self.data.len()
    }

    fn name(&self) -> Option<&StreamName> {
        Some(&self.name)
    }

    fn stage(&self, tx: &mut Transaction<'_>) -> Self::Reply {
        if let Some(slot) = tx.find(&self.name)? {
            let now = tx.context.now;
            if tx.get(slot).gone.is_none() && tx.get(slot).stream.expired(now) {
                delete::remove(tx, slot)?;
            }
            match tx.get(slot).gone {
                None => return self.compare(tx, slot),
                Some(Gone::SoftDeleted) => return Err(CreateError::SoftDeleted),
                Some(Gone::Deleted) => {}
                Some(Gone::Outdated) => return Err(Unavailable::Raced.into()),
            }
        }
        let fork = match &self.fork {
            Some(fork) => Some(fork.stage_source(tx, self.content_type.as_ref())?),
            None => None,
        };
        self.check_limits(tx)?;
        let record = self.record(tx, fork)?;
        let slot = tx.stage_new(&self.name, record);
        let staged = tx.get_mut(slot);
        let start = staged.tail;
        staged.append(self.prefix());
        staged.append(self.data.clone());
        if staged.tail > start {
            trim::appended(tx, slot, start);
        }
        Ok(reply(tx.get(slot), true))
    }

    fn landed(&self, reply: &mut Self::Reply, landings: &Landings) {
        if let Ok(Created { tail, id, .. }) = reply {
            landings.correct(*id, tail);
        }
    }
}

impl Create {
    /// Whether the existing stream is as requested (section 5.1).
    fn compare(&self, tx: &mut Transaction<'_>, slot: Slot) -> Result<Created, CreateError> {
        let lifetime_differs = self.lifetime_differs(tx, slot)?;
        let existing = tx.get(slot);
        let record = &existing.record;
        let content_type_differs = match &self.content_type {
            Some(content_type) => !content_type.matches(&existing.stream.content_type),
            None => self.fork.is_none() && !ContentType::default_type().matches(&existing.stream.content_type),
        };
        // Clients that do not know of retention leave it out, so that matches any.
        let policy = record.retention.as_ref().and_then(|retention| retention.policy);
        let retention_differs = self.retention.is_some() && self.retention != policy;
        let fork_differs = match (&record.fork, &self.fork) {
            (None, None) => false,
            (Some(existing), Some(fork)) => !fork.is_at(record, existing),
            _ => true,
        };
        let past_differs = self.past.as_ref().is_some_and(|past| {
            let lives = record.lives.iter().map(|life| record.offset(life.end));
            !lives.eq(past.lives.iter().copied())
        });
        let differences = [
            (content_type_differs, "content type"),
            (lifetime_differs, "lifetime"),
            (retention_differs, "retention"),
            (self.closed != record.closed, "closed state"),
            (fork_differs, "origin"),
            (past_differs, "past"),
        ];
        match differences.iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(CreateError::Exists(what)),
            None => Ok(reply(existing, false)),
        }
    }

    /// A fork that is requested without a lifetime is one with its source's (section 4.2).
    fn lifetime_differs(&self, tx: &mut Transaction<'_>, slot: Slot) -> Result<bool, Unavailable> {
        let record = Arc::clone(&tx.get(slot).record);
        let wanted = match (self.lifetime, &self.fork, &record.fork) {
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

    /// The part of its source's append that a fork begins with.
    fn prefix(&self) -> Bytes {
        self.fork.as_ref().map_or_else(Bytes::new, PreparedFork::prefix)
    }

    fn check_limits(&self, tx: &Transaction<'_>) -> Result<(), CreateError> {
        let limits = &tx.context.config.limits;
        let len = (self.prefix().len() + self.data.len()) as u64;
        match (limits.stream_bytes(), limits.streams()) {
            (Some(limit), _) if len > limit => Err(CreateError::TooLarge(limit)),
            (_, Some(limit)) if tx.streams() >= limit => Err(CreateError::TooManyStreams(limit)),
            _ => Ok(()),
        }
    }

    /// The new stream's record. Counts a fork on its source.
    fn record(&self, tx: &mut Transaction<'_>, fork: Option<(Slot, &ForkPoint)>) -> Result<StreamRecord, CreateError> {
        let now = tx.context.now;
        // Offsets grow with the incarnation, and another server may have given out greater ones.
        let past = self.past.iter().flat_map(|past| &past.lives);
        let inherited = fork.map_or(0, |(_, point)| point.last_incarnation());
        let id = tx.next_id(past.map(|life| life.incarnation).fold(inherited, u64::max))?;
        let mut record = self.new_record(id);
        if let Some((source, point)) = fork {
            let source = tx.get(source);
            record = point.inherit(&source.record, record);
            if self.content_type.is_none() {
                record.content_type.clone_from(&source.record.content_type);
            }
            record.lifetime = self.lifetime.unwrap_or(source.record.lifetime);
        }
        if let Some(past) = &self.past {
            continue_from(past, &mut record)?;
        }
        if let Some((source, _)) = fork {
            tx.get_mut(source).record_mut().forks += 1;
        }
        let mut retention = record.retention.take().map(|retention| *retention).unwrap_or_default();
        // Data below that may have been trimmed.
        retention.given_up = retention.earliest;
        retention.policy = self.retention.or(retention.policy);
        record.retention = (retention != Retention::default()).then(|| Box::new(retention));
        record.created_at = now;
        record.touched_at = now;
        record.due_at = tx.context.origin.lifetimes.deadline(record.lifetime, now);
        Ok(record)
    }

    /// The record of a stream without a source and without a past.
    fn new_record(&self, id: StreamId) -> StreamRecord {
        let content_type = self.content_type.clone().unwrap_or_else(ContentType::default_type);
        StreamRecord {
            id,
            start: 0,
            content_type: content_type.as_str().to_owned(),
            created_at: 0,
            lifetime: self.lifetime.unwrap_or(Lifetime::Unlimited),
            touched_at: 0,
            due_at: None,
            closed: self.closed,
            closed_by: None,
            stream_seq: None,
            fork: None,
            forks: 0,
            soft_deleted: false,
            lives: Vec::new(),
            renewed: None,
            framing: match content_type.kind() {
                Kind::Json => Framing::NONE,
                Kind::Text | Kind::Binary => Framing::NEW,
            },
            retention: None,
        }
    }
}

/// Gives an imported stream the offsets of the exported one. Appends after the import have
/// offsets of a life of its own, so that they are never mistaken for others that the exported
/// stream has issued since.
fn continue_from(past: &History, record: &mut StreamRecord) -> Result<(), PastError> {
    if past.lives.len() > MAX_LINEAGE {
        return Err(PastError::TooMany);
    }
    for life in &past.lives {
        let last = record.lives.last();
        if last.is_some_and(|last| last.incarnation >= life.incarnation || last.end > life.position) {
            return Err(PastError::Order);
        }
        if life.incarnation >= record.id {
            return Err(PastError::Future);
        }
        record.lives.push(Life {
            incarnation: life.incarnation,
            end: life.position,
        });
    }
    let Some(begin) = past.earliest else { return Ok(()) };
    if record.lives.last().is_none_or(|last| begin.position > last.end) || !record.gave_out(begin) {
        return Err(PastError::Earliest);
    }
    record.start = begin.position;
    record.retention = Some(Box::new(Retention {
        earliest: begin.position,
        ..Retention::default()
    }));
    Ok(())
}

fn reply(staged: &Staged, new: bool) -> Created {
    Created {
        new,
        content_type: staged.record.content_type.clone(),
        tail: staged.offset(),
        closed: staged.record.closed,
        id: staged.stream.id,
    }
}
