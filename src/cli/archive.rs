//! The lines of an export. Each is a JSON object: a stream's header, its content, its end, then the
//! next stream. A stream without its end is truncated.

use std::io::{self, Write};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::remote::Metadata;
use crate::protocol::StreamName;

/// A stream's first line.
#[derive(Debug, Serialize)]
pub(super) struct Header<'h> {
    pub(super) stream: &'h StreamName,
    #[serde(flatten)]
    pub(super) metadata: &'h Metadata,
    /// Each piece of content is an append.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) appends: bool,
    /// Random for each export, so that an import recognizes the streams that it created.
    pub(super) export: &'h str,
}

/// A piece of content.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Content<'c> {
    /// A message of a JSON stream.
    Json(&'c RawValue),
    /// UTF-8 bytes of any other stream.
    Text(&'c str),
    /// Bytes of any other stream.
    Base64(String),
}

/// A stream's last line, with the amount of content.
#[derive(Debug, Serialize)]
pub(super) struct End {
    pub(super) end: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) messages: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    pub(super) closed: bool,
}

/// Writes a line.
pub(super) fn write(out: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// A stream's first line, for reading.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderLine {
    pub(super) stream: StreamName,
    pub(super) content_type: String,
    #[serde(default)]
    pub(super) offset: String,
    #[serde(default)]
    pub(super) closed: bool,
    pub(super) ttl_seconds: Option<u64>,
    pub(super) expires_at: Option<String>,
    pub(super) retention_age_seconds: Option<u64>,
    pub(super) retention_bytes: Option<u64>,
    pub(super) earliest_offset: Option<String>,
    pub(super) lives: Option<String>,
    #[serde(default)]
    pub(super) appends: bool,
    /// Covered by the line hash; otherwise unused.
    #[serde(rename = "export")]
    _export: Option<String>,
}

/// Any other line, for reading: the members of all kinds of lines.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ContentLine {
    /// `null` is a message, too.
    #[serde(deserialize_with = "present")]
    pub(super) json: Option<Box<RawValue>>,
    pub(super) text: Option<String>,
    pub(super) base64: Option<String>,
    pub(super) end: Option<bool>,
    pub(super) messages: Option<u64>,
    pub(super) bytes: Option<u64>,
    pub(super) closed: Option<bool>,
}

/// A line's content: a message, text, or base64.
pub(super) type LineContent = (Option<Box<RawValue>>, Option<String>, Option<String>);

impl ContentLine {
    /// The content, if the line holds nothing else.
    pub(super) fn only_content(self) -> Option<LineContent> {
        match self {
            Self {
                json,
                text,
                base64,
                end: None,
                messages: None,
                bytes: None,
                closed: None,
            } => Some((json, text, base64)),
            _ => None,
        }
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}
