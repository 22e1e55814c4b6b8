//! Stream names.

use std::{fmt, sync::Arc};

use percent_encoding::percent_decode_str;

/// The longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// The reserved first segment (section 6): control APIs, never a stream.
pub const RESERVED_SEGMENT: &str = "__ds";

/// A valid stream name: UTF-8, 1 to 1024 bytes, no control characters, no `.`
/// or `..` segment, and not under the reserved `__ds`.
///
/// Holding one is the proof that these rules were checked. Slashes are kept as
/// they are, so `gid://app/Room/1` is a name; a proxy that merged its slashes
/// to `gid:/app/Room/1` is undone here.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(Arc<str>);

/// Why a text is not a stream name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing after the base path.
    #[error("the stream name is empty")]
    Empty,
    /// More than [`MAX_NAME_BYTES`] after decoding.
    #[error("the stream name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// The percent-decoded bytes are not UTF-8.
    #[error("the stream name is not UTF-8 after percent-decoding")]
    NotUtf8,
    /// A `%` that two hexadecimal digits do not follow.
    #[error("the stream name has a `%` without two hexadecimal digits behind it")]
    BadEscape,
    /// A control character, such as a NUL or a line break.
    #[error("the stream name has a control character")]
    Control,
    /// A segment that is `.` or `..`.
    #[error("the stream name has a `.` or `..` segment")]
    DotSegment,
    /// The first segment is `__ds`.
    #[error("stream names under `{RESERVED_SEGMENT}` are reserved")]
    Reserved,
}

impl StreamName {
    /// A name from the part of a request's path below the base, percent-decoded once.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn from_path(encoded: &str) -> Result<Self, NameError> {
        if !escapes_are_whole(encoded) {
            return Err(NameError::BadEscape);
        }
        let decoded = percent_decode_str(encoded)
            .decode_utf8()
            .map_err(|_| NameError::NotUtf8)?;
        Self::new(&decoded)
    }

    /// A name from text that is decoded already, such as a token's claim.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        if text.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(NameError::DotSegment);
        }
        if text.split('/').next() == Some(RESERVED_SEGMENT) {
            return Err(NameError::Reserved);
        }
        Ok(match text.strip_prefix("gid:/") {
            Some(rest) if !rest.starts_with('/') && !rest.is_empty() => {
                let repaired = format!("gid://{rest}");
                if repaired.len() > MAX_NAME_BYTES {
                    return Err(NameError::TooLong);
                }
                Self(repaired.into())
            }
            _ => Self(text.into()),
        })
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn escapes_are_whole(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => {
                rest = rest.get(at + 3..).unwrap_or_default();
            }
            _ => return false,
        }
    }
    true
}

impl serde::Serialize for StreamName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for StreamName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

// Equality, order and hash are those of the text, as `Borrow` asks.
impl std::borrow::Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for StreamName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
