//! One stream of an import.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use serde_json::value::RawValue;

use super::{error::ImportError, reader::Header};
use crate::{
    cli::{
        error::CliError,
        remote::{Batch, Created, Metadata, ProducerState, Remote, Stamp},
    },
    clock::Clock,
    protocol::{StreamName, headers},
};

/// The size of a request, unless a single message is larger. A repeated import relies on the same
/// batches: change [`PRODUCER_PREFIX`] together with this.
const BATCH_BYTES: usize = 256 * 1024;

const PRODUCER_PREFIX: &str = "import-1-";

/// The result for one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is new.
    Imported,
    /// An earlier run had imported part of it.
    Continued,
    /// An earlier run had imported all of it.
    AlreadyPresent,
    /// It had expired before the import.
    Expired,
    /// It was not selected.
    Skipped,
}

impl Outcome {
    pub(super) fn exists(self) -> bool {
        !matches!(self, Self::Expired | Self::Skipped)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Imported => "imported",
            Self::Continued => "imported the rest of",
            Self::AlreadyPresent => "already present:",
            Self::Expired => "not imported, already expired:",
            Self::Skipped => "skipped",
        })
    }
}

/// A stream that receives content.
pub(super) struct Target<'t> {
    remote: &'t Remote,
    name: &'t StreamName,
    content_type: &'t str,
    /// Each piece of content is an append.
    appends: bool,
    /// The outcome when nothing is sent.
    idle: Option<Outcome>,
    /// The producer id: the same for the same export of the same stream, and for no other.
    producer: String,
    /// Requests below this number were accepted by earlier runs.
    accepted: u64,
    /// The stream is closed.
    closed: bool,
    seq: u64,
    /// Unsent content; messages are comma-separated.
    batch: BytesMut,
    messages: usize,
}

impl<'t> Target<'t> {
    /// A stream whose content is discarded.
    pub(super) fn skipped(remote: &'t Remote, header: &'t Header) -> Self {
        Self::new(remote, header, Some(Outcome::Skipped))
    }

    fn new(remote: &'t Remote, header: &'t Header, idle: Option<Outcome>) -> Self {
        let hash = digest(&SHA256, header.text.trim_ascii_end());
        let hex = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}"));
        Self {
            remote,
            name: &header.stream,
            content_type: &header.metadata.content_type,
            appends: header.appends,
            idle,
            producer: format!("{PRODUCER_PREFIX}{}", hex.collect::<String>()),
            accepted: 0,
            closed: false,
            seq: 0,
            batch: BytesMut::new(),
            messages: 0,
        }
    }

    /// Creates the stream, or finds out how much of it an earlier run has imported.
    pub(super) async fn begin(
        remote: &'t Remote,
        header: &'t Header,
        replace: bool,
        clock: &Clock,
    ) -> Result<Self, CliError> {
        if is_expired(&header.metadata, clock) {
            return Ok(Self::new(remote, header, Some(Outcome::Expired)));
        }
        let mut target = Self::new(remote, header, None);
        if replace {
            match remote.delete(target.name).await {
                Err(CliError::Remote(error)) if error.status() == Some(StatusCode::NOT_FOUND) => {}
                deleted => deleted?,
            }
        }
        let created = remote.create(target.name, &header.metadata).await?;
        if created == Created::New {
            return Ok(target);
        }
        match remote.probe(target.name, target.content_type, &target.producer).await {
            Ok(ProducerState::Expects(0)) if created == Created::Found => Err(target.foreign()),
            Ok(ProducerState::Expects(next)) => {
                target.accepted = next;
                Ok(target)
            }
            Ok(ProducerState::Closed) => {
                target.closed = true;
                Ok(target)
            }
            Err(CliError::Remote(error)) if error.status() == Some(StatusCode::CONFLICT) => Err(target.foreign()),
            Err(error) => Err(error),
        }
    }

    fn foreign(&self) -> CliError {
        ImportError::Foreign(self.name.clone()).into()
    }

    pub(super) async fn message(&mut self, message: &RawValue) -> Result<(), CliError> {
        let text = message.get().as_bytes();
        self.make_room(text.len()).await?;
        if self.messages > 0 {
            self.batch.extend_from_slice(b",");
        }
        self.batch.extend_from_slice(text);
        self.messages += 1;
        Ok(())
    }

    pub(super) async fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.make_room(bytes.len()).await?;
        self.batch.extend_from_slice(bytes);
        match self.appends {
            true => self.flush().await,
            false => Ok(()),
        }
    }

    async fn make_room(&mut self, len: usize) -> Result<(), CliError> {
        if !self.batch.is_empty() && self.batch.len() + len > BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), CliError> {
        let (batch, messages) = (self.batch.split().freeze(), std::mem::take(&mut self.messages));
        if batch.is_empty() {
            return Ok(());
        }
        let body = match messages {
            0 => batch,
            // A single message was accepted at this size when it was written.
            1 if !batch.starts_with(b"[") => batch,
            _ => [&b"["[..], &batch, b"]"].concat().into(),
        };
        self.send(body, false).await
    }

    async fn send(&mut self, body: Bytes, close: bool) -> Result<(), CliError> {
        let (producer, seq) = (self.producer.as_str(), self.seq);
        self.seq += 1;
        // Only a repeated close tells whether this import closed the stream.
        if self.idle.is_some() || seq < self.accepted || self.closed && !close {
            return Ok(());
        }
        let content_type = self.content_type;
        let batch = Batch {
            content_type,
            body,
            close,
        };
        match self.remote.append(self.name, batch, Stamp { producer, seq }).await {
            Err(CliError::Remote(error)) if error.status() == Some(StatusCode::CONFLICT) && self.closed => {
                Err(self.foreign())
            }
            Err(CliError::Remote(error)) if error.status() == Some(StatusCode::NOT_FOUND) => {
                Err(ImportError::Vanished(self.name.clone()).into())
            }
            sent => sent,
        }
    }

    /// Sends the rest, and closes the stream if it was closed when it was exported.
    pub(super) async fn end(mut self, close: bool) -> Result<Outcome, CliError> {
        self.flush().await?;
        if let Some(outcome) = self.idle {
            return Ok(outcome);
        }
        if self.closed && !close || self.accepted > self.seq {
            return Err(self.foreign());
        }
        let already_present = self.closed || (self.accepted == self.seq && self.accepted > 0 && !close);
        if close {
            self.send(Bytes::new(), true).await?;
        }
        Ok(match (already_present, self.accepted) {
            (true, _) => Outcome::AlreadyPresent,
            (false, 0) => Outcome::Imported,
            (false, _) => Outcome::Continued,
        })
    }
}

fn is_expired(metadata: &Metadata, clock: &Clock) -> bool {
    let expires_at = metadata.expires_at.as_deref().map(headers::parse_timestamp);
    matches!(expires_at, Some(Ok(at)) if at <= clock.millis())
}
