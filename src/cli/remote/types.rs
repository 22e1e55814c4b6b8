//! Requests to the server and its responses, as values.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::protocol::StreamName;

/// A page of the list of streams.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Page {
    pub(in crate::cli) streams: Vec<Listed>,
    pub(in crate::cli) next: Option<String>,
}

/// A stream in the list, with all members that the server sent.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Listed {
    pub(in crate::cli) name: StreamName,
    #[serde(flatten)]
    pub(in crate::cli) members: Map<String, Value>,
}

/// The response headers of `HEAD`, unparsed where an export only repeats them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(in crate::cli) struct Metadata {
    pub(in crate::cli) content_type: String,
    pub(in crate::cli) offset: String,
    pub(in crate::cli) closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) ttl_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) retention_age_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) retention_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) earliest_offset: Option<String>,
    /// The last offset of each earlier life of the stream, comma-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) lives: Option<String>,
}

/// The form of the content in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Form {
    /// The form for readers.
    Plain,
    /// The stored form.
    Stored,
    /// The stored form with its appends kept apart.
    StoredAppends,
}

/// A part of a stream's content.
pub(in crate::cli) struct Chunk {
    pub(in crate::cli) form: Form,
    pub(in crate::cli) body: Bytes,
    /// The offset of the next part.
    pub(in crate::cli) next: String,
    pub(in crate::cli) up_to_date: bool,
    pub(in crate::cli) closed: bool,
}

/// The result of a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Created {
    /// The stream is new.
    New,
    /// It existed as described, without content.
    FoundEmpty,
    /// It existed, perhaps not as described.
    Found,
}

/// One request of a producer, in epoch 0.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Stamp<'p> {
    pub(in crate::cli) producer: &'p str,
    pub(in crate::cli) seq: u64,
}

/// The body of one append. An empty one with `close` only closes the stream.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Batch<'b> {
    pub(in crate::cli) content_type: &'b str,
    pub(in crate::cli) body: Bytes,
    pub(in crate::cli) close: bool,
}

/// A producer's progress on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum ProducerState {
    /// The next sequence number that the stream accepts; 0 for an unknown producer.
    Expects(u64),
    /// The stream is closed.
    Closed,
}
