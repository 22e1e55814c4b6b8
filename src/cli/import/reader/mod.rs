//! Reads the lines of an export, each strictly.

use std::io::{BufRead, Read as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::value::RawValue;

use super::error::InputError;
use crate::{
    cli::{
        archive::{ContentLine, HeaderLine},
        remote::{Metadata, shown},
    },
    protocol::{BadInput, ContentType, Kind, StreamName, headers},
};

/// A message is one line.
const MAX_LINE_BYTES: u64 = 256 * 1024 * 1024;

/// A stream's first line.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) stream: StreamName,
    pub(super) metadata: Metadata,
    /// Each piece of content is an append.
    pub(super) appends: bool,
    /// The line as it was read.
    pub(super) text: Vec<u8>,
}

/// The content of a line.
#[derive(Debug)]
pub(super) enum Item {
    Header(Box<Header>),
    Message(Box<RawValue>),
    Bytes(Bytes),
    End { closed: bool },
}

/// Reads lines.
pub(super) struct Reader<R> {
    input: R,
    line: u64,
    /// The stream whose end is still to come.
    open: Option<OpenStream>,
}

struct OpenStream {
    stream: StreamName,
    began_in: u64,
    is_json: bool,
    /// Messages (JSON) or bytes (others) so far.
    count: u64,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            line: 0,
            open: None,
        }
    }

    /// The next line; `None` after the last. An error when the last stream has no end.
    pub(super) fn next(&mut self) -> Result<Option<Item>, InputError> {
        self.line += 1;
        let mut text = Vec::new();
        let read = (&mut self.input).take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut text);
        read.map_err(|source| InputError::Unreadable {
            line: self.line,
            source,
        })?;
        if text.is_empty() {
            return match &self.open {
                None => Ok(None),
                Some(open) => Err(self.malformed(format!(
                    "the input ends within the stream {:?}, which began in line {}; expected more of its content or \
                     its line {{\"end\":true,...}}. It is truncated",
                    open.stream.as_str(),
                    open.began_in
                ))),
            };
        }
        if text.len() as u64 > MAX_LINE_BYTES {
            return Err(self.malformed(format!("is longer than {MAX_LINE_BYTES} bytes")));
        }
        // serde would read an array as a struct.
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(self.malformed(format!("is not a JSON object; expected {}", self.expected())));
        }
        let whole = text.last() == Some(&b'\n');
        let item = match &self.open {
            None => self.header(text, whole)?,
            Some(_) => self.content(&text, whole)?,
        };
        Ok(Some(item))
    }

    fn malformed(&self, reason: impl Into<String>) -> InputError {
        InputError::Malformed {
            line: self.line,
            reason: reason.into(),
        }
    }

    fn not_a_line(&self, error: &serde_json::Error, whole: bool) -> InputError {
        if !whole {
            return self.malformed("the input ends within this line; it is truncated");
        }
        let reason = error.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default();
        self.malformed(format!(
            "column {}: {}; expected {}",
            error.column(),
            shown(reason),
            self.expected()
        ))
    }

    fn expected(&self) -> String {
        match &self.open {
            None => "the first line of a stream, {\"stream\":\"name\",\"content_type\":\"...\",...}".into(),
            Some(OpenStream { is_json: true, .. }) => "{\"json\":...} or {\"end\":true,...}".into(),
            Some(_) => "{\"text\":\"...\"}, {\"base64\":\"...\"} or {\"end\":true,...}".into(),
        }
    }

    fn header(&mut self, text: Vec<u8>, whole: bool) -> Result<Item, InputError> {
        let line: HeaderLine = serde_json::from_slice(&text).map_err(|error| self.not_a_line(&error, whole))?;
        let parsed = ContentType::parse(&line.content_type).map_err(|error| self.bad("content_type", &error))?;
        if line.ttl_seconds.is_some() && line.expires_at.is_some() {
            return Err(self.malformed("has both ttl_seconds and expires_at; expected at most one"));
        }
        if let Some(at) = &line.expires_at {
            headers::parse_timestamp(at).map_err(|error| self.bad("expires_at", &error))?;
        }
        self.open = Some(OpenStream {
            stream: line.stream.clone(),
            began_in: self.line,
            is_json: parsed.kind() == Kind::Json,
            count: 0,
        });
        let metadata = Metadata {
            content_type: line.content_type,
            offset: line.offset,
            closed: line.closed,
            ttl_seconds: line.ttl_seconds,
            expires_at: line.expires_at,
            retention_age_seconds: line.retention_age_seconds,
            retention_bytes: line.retention_bytes,
            earliest_offset: line.earliest_offset,
            lives: line.lives,
        };
        Ok(Item::Header(Box::new(Header {
            stream: line.stream,
            metadata,
            appends: line.appends,
            text,
        })))
    }

    fn bad(&self, member: &str, error: &BadInput) -> InputError {
        self.malformed(format!("{member}: {}", error.reason))
    }

    fn content(&mut self, text: &[u8], whole: bool) -> Result<Item, InputError> {
        let line: ContentLine = serde_json::from_slice(text).map_err(|error| self.not_a_line(&error, whole))?;
        if line.end == Some(true) {
            return self.end(&line);
        }
        let is_json = self.open.as_ref().is_some_and(|open| open.is_json);
        let (item, count) = match (line.only_content(), is_json) {
            (Some((Some(message), None, None)), true) => (Item::Message(message), 1),
            (Some((None, Some(text), None)), false) => {
                let count = text.len() as u64;
                (Item::Bytes(text.into()), count)
            }
            (Some((None, None, Some(text))), false) => {
                let bytes = STANDARD
                    .decode(text)
                    .map_err(|error| self.malformed(format!("base64: {error}")))?;
                let count = bytes.len() as u64;
                (Item::Bytes(bytes.into()), count)
            }
            _ => return Err(self.malformed(format!("expected {}", self.expected()))),
        };
        if let Some(open) = &mut self.open {
            open.count += count;
        }
        Ok(item)
    }

    fn end(&mut self, line: &ContentLine) -> Result<Item, InputError> {
        let found = self.open.as_ref().map_or(0, |open| open.count);
        let is_json = self.open.as_ref().is_some_and(|open| open.is_json);
        let (counted, unit) = if is_json {
            (line.messages, "messages")
        } else {
            (line.bytes, "bytes")
        };
        if line.json.is_some() || line.text.is_some() || line.base64.is_some() {
            return Err(self.malformed("is an end with content; expected one of the two"));
        }
        let counted = counted.ok_or_else(|| self.malformed(format!("the member {unit} is missing")))?;
        if counted != found {
            return Err(self.malformed(format!(
                "counts {counted} {unit}, but there are {found}; lines are missing or were added"
            )));
        }
        self.open = None;
        Ok(Item::End {
            closed: line.closed.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests;
