//! What the engine is asked to do, and what it answers.

use bytes::Bytes;

use super::{
    errors::{AppendError, CreateError, DeleteError, Unavailable},
    stream::Stream,
    writers::WriterScope,
};
use crate::{
    protocol::{ContentType, History, Lifetime, Offset, ProducerStamp, RetentionPolicy, StreamName},
    storage::{Fork, Life, Position, ProducerState},
};
use std::sync::Arc;

/// Creates a stream, or finds one that is as described.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// `None`: the default, or the source's.
    pub content_type: Option<ContentType>,
    /// `None`: unlimited, or as the source.
    pub lifetime: Option<Lifetime>,
    /// How much of its past it keeps; `None`: what the configuration says, or as the source.
    pub retention: Option<RetentionPolicy>,
    /// Created closed.
    pub closed: bool,
    /// The first content, as it came.
    pub body: Bytes,
    /// Branches off another stream.
    pub fork: Option<ForkRequest>,
    /// Goes on from the offsets of a stream that was exported.
    pub past: Option<History>,
}

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

/// A stream is there, as described.
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
}

/// Appends to a stream, closes it, or both in one step.
#[derive(Debug, Clone)]
pub struct AppendRequest {
    /// The body's content type; may be missing where the body is empty.
    pub content_type: Option<ContentType>,
    /// What to append, as it came; empty only to close.
    pub body: Bytes,
    /// Closes the stream after the body.
    pub close: bool,
    /// Makes a retry harmless (section 5.2.1).
    pub producer: Option<ProducerStamp>,
    /// `Stream-Seq`
    pub stream_seq: Option<String>,
    /// The scope of the producer and of `Stream-Seq`; `None`: the plain scope.
    pub writer: Option<WriterScope>,
}

/// What is true after an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The stream's tail.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// Whether it was there already, by the same producer's earlier request.
    pub duplicate: bool,
    /// Where the producer stands.
    pub producer: Option<ProducerState>,
}

/// What the committer is asked to do.
pub(super) enum Command {
    Create {
        name: StreamName,
        create: Box<PreparedCreate>,
    },
    Append {
        stream: Arc<Stream>,
        append: PreparedAppend,
    },
    Delete {
        name: StreamName,
    },
    /// Deletes a stream if its time is over, and notes when to look again if it is not.
    Expire {
        name: StreamName,
    },
    /// Writes down when a stream was last read.
    Touch {
        stream: Arc<Stream>,
    },
}

/// A create whose parts that need no ordering are done.
pub(super) struct PreparedCreate {
    pub(super) content_type: Option<ContentType>,
    pub(super) lifetime: Option<Lifetime>,
    pub(super) retention: Option<RetentionPolicy>,
    pub(super) closed: bool,
    pub(super) data: Bytes,
    pub(super) fork: Option<PreparedFork>,
    pub(super) past: Option<History>,
}

pub(super) struct PreparedFork {
    pub(super) request: ForkRequest,
    /// Where exactly to fork it, or why that cannot be.
    pub(super) at: Result<ForkPoint, CreateError>,
}

pub(super) struct ForkPoint {
    pub(super) source: Arc<Stream>,
    pub(super) position: Position,
    /// The part of the following append that belongs to the fork (section 4.2, sub-offset).
    pub(super) prefix: Bytes,
    pub(super) lives: Vec<Life>,
    pub(super) fork: Fork,
}

/// An append whose body is in the form in which it is stored.
pub(super) struct PreparedAppend {
    pub(super) data: Bytes,
    pub(super) content_type_matches: bool,
    pub(super) close: bool,
    /// With the key that the producer is kept under instead of its id.
    pub(super) producer: Option<ProducerStamp>,
    pub(super) stream_seq: Option<String>,
    pub(super) writer: Option<WriterScope>,
}

/// What the committer answers.
pub(super) enum Outcome {
    Created(Result<Created, CreateError>),
    Appended(Result<Appended, AppendError>),
    Deleted(Result<(), DeleteError>),
    Done,
    Unavailable(Unavailable),
}
