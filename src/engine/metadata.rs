//! Metadata (section 5.5).

use super::{Engine, Shared, read_error::ReadError, retention, snapshot::Snapshot};
use crate::{
    protocol::{Lifetime, Offset, RetentionPolicy, StreamName},
    storage::{Position, StreamRecord},
};

/// A stream's metadata.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Its content type, as given.
    pub content_type: String,
    /// Its tail.
    pub tail: Offset,
    /// Whether it is closed.
    pub closed: bool,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// How much data it keeps; `None`: all of it.
    pub retention: Option<RetentionPolicy>,
    /// Where the earliest content that can be read begins.
    pub earliest: Offset,
    /// Where each earlier life ended whose offsets this stream accepts, oldest first.
    pub lives: Vec<Offset>,
}

impl Engine {
    /// A stream's metadata. Does not count as a read for a sliding lifetime.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn metadata(&self, name: &StreamName) -> Result<Metadata, ReadError> {
        let Snapshot { record, tail, .. } = self.find_readable(name).await?.snapshot();
        Ok(self.shared.describe(name, &record, tail))
    }
}

impl Shared {
    /// The metadata of a stream with this record and tail.
    pub(super) fn describe(&self, name: &StreamName, record: &StreamRecord, tail: Position) -> Metadata {
        Metadata {
            content_type: record.content_type.clone(),
            tail: record.offset(tail),
            closed: record.closed,
            lifetime: record.lifetime,
            retention: retention::policy(record, &self.retention, name),
            earliest: record.offset(record.earliest()),
            lives: record.lives.iter().map(|life| record.offset(life.end)).collect(),
        }
    }
}
