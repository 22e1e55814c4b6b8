//! One stream of an import.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use serde_json::value::RawValue;

use super::reader::Header;
use crate::{
    cli::{
        CliError,
        remote::{Batch, Created, Metadata, Probe, Remote, Stamp},
    },
    clock,
    protocol::{StreamName, headers},
};

/// What is sent in one request, unless a single message is larger. An import can only be
/// continued because it cuts the file as it did before: who changes this changes [`PRODUCER`].
const BATCH_BYTES: usize = 256 * 1024;

/// What the producers of imports are called, before what tells them apart.
const PRODUCER: &str = "import-1-";

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is there, and was not before.
    Imported,
    /// Part of it was there from an earlier run.
    Continued,
    /// All of it was.
    WasThere,
    /// Its time was over.
    Expired,
    /// It was not asked for.
    PassedOver,
}

impl Outcome {
    pub(super) fn is_there(self) -> bool {
        !matches!(self, Self::Expired | Self::PassedOver)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Imported => "imported",
            Self::Continued => "imported the rest of",
            Self::WasThere => "was there already:",
            Self::Expired => "not imported, its time was over before:",
            Self::PassedOver => "passed over",
        })
    }
}

/// A stream that content goes to.
pub(super) struct Target<'t> {
    remote: &'t Remote,
    name: &'t StreamName,
    content_type: &'t str,
    /// Each piece of content is an append.
    appends: bool,
    /// Nothing is sent: why.
    idle: Option<Outcome>,
    /// Names this import on this stream: the same for the same export, and for no other.
    producer: String,
    /// The requests up to here were accepted in earlier runs.
    accepted: u64,
    /// The stream is closed.
    closed: bool,
    seq: u64,
    /// Content to send; messages are separated by commas.
    batch: BytesMut,
    messages: usize,
}

impl<'t> Target<'t> {
    /// Content that is read and goes nowhere.
    pub(super) fn passed_over(remote: &'t Remote, header: &'t Header) -> Self {
        Self::new(remote, header, Some(Outcome::PassedOver))
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
            producer: format!("{PRODUCER}{}", hex.collect::<String>()),
            accepted: 0,
            closed: false,
            seq: 0,
            batch: BytesMut::new(),
            messages: 0,
        }
    }

    /// Creates the stream, or finds out how far an earlier run has come with it.
    pub(super) async fn begin(remote: &'t Remote, header: &'t Header, replace: bool) -> Result<Self, CliError> {
        if is_over(&header.metadata) {
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
            Ok(Probe::Expects(0)) if created == Created::Found => Err(target.foreign()),
            Ok(Probe::Expects(next)) => {
                target.accepted = next;
                Ok(target)
            }
            Ok(Probe::Closed) => {
                target.closed = true;
                Ok(target)
            }
            Err(CliError::Remote(error)) if error.status() == Some(StatusCode::CONFLICT) => Err(target.foreign()),
            Err(error) => Err(error),
        }
    }

    fn foreign(&self) -> CliError {
        CliError::Usage(format!(
            "the stream {:?} is there already, and not from this import; delete it, or give --replace to have it \
             deleted first",
            self.name.as_str()
        ))
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
            // Alone it is no larger than when it was written, and so not too large.
            1 if !batch.starts_with(b"[") => batch,
            _ => [&b"["[..], &batch, b"]"].concat().into(),
        };
        self.send(body, false).await
    }

    async fn send(&mut self, body: Bytes, close: bool) -> Result<(), CliError> {
        let (producer, seq) = (self.producer.as_str(), self.seq);
        self.seq += 1;
        // Of a closed stream only the close can tell whether this import closed it.
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
                Err(CliError::Usage(format!(
                    "the stream {:?} ended while it was imported: it was deleted, or its time was over",
                    self.name.as_str()
                )))
            }
            sent => sent,
        }
    }

    /// Sends what is left, and closes the stream if it was closed.
    pub(super) async fn end(mut self, close: bool) -> Result<Outcome, CliError> {
        self.flush().await?;
        if let Some(outcome) = self.idle {
            return Ok(outcome);
        }
        if self.closed && !close || self.accepted > self.seq {
            return Err(self.foreign());
        }
        let was_there = self.closed || (self.accepted == self.seq && self.accepted > 0 && !close);
        if close {
            self.send(Bytes::new(), true).await?;
        }
        Ok(match (was_there, self.accepted) {
            (true, _) => Outcome::WasThere,
            (false, 0) => Outcome::Imported,
            (false, _) => Outcome::Continued,
        })
    }
}

fn is_over(metadata: &Metadata) -> bool {
    let expires_at = metadata.expires_at.as_deref().map(headers::parse_timestamp);
    matches!(expires_at, Some(Ok(at)) if at <= clock::now_millis())
}
