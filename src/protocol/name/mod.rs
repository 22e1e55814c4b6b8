//! Stream names.

use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use percent_encoding::percent_decode_str;

/// The maximum length of a name in bytes.
pub const MAX_NAME_BYTES: usize = 1024;

/// The reserved first segment (section 6): control APIs, never a stream.
pub const RESERVED_SEGMENT: &str = "__ds";

/// The beginning of the names of the server's own streams.
const INTERNAL: &str = "__ds/";

/// A valid stream name: UTF-8, 1 to 1024 bytes, no control characters, no `.` or `..` segment, and
/// not under the reserved `__ds`.
///
/// Proxies merge slashes, so names that differ only in the length of runs of slashes are equal:
/// `gid://app/Room/1` and `gid:/app/Room/1`. Names are compared, ordered and stored by their
/// [key](Self::key). [`Self::as_str`] is the original spelling, in which a merged `gid:/` is
/// restored to `gid://`.
#[derive(Clone)]
pub struct StreamName(
    /// The key. If the spelling differs: the key, a NUL, the spelling and a NUL, because no name
    /// contains a NUL.
    Arc<str>,
);

/// Why a text is not a stream name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing after the base path.
    #[error("the stream name is empty")]
    Empty,
    /// It has more than 1024 bytes after decoding.
    #[error("the stream name is longer than {MAX_NAME_BYTES} bytes")]
    TooLong,
    /// The percent-decoded bytes are not UTF-8.
    #[error("the stream name is not UTF-8 after percent-decoding")]
    NotUtf8,
    /// A `%` is not followed by two hexadecimal digits.
    #[error("the stream name contains a `%` that is not followed by two hexadecimal digits")]
    BadEscape,
    /// It contains a control character, such as a NUL or a line break.
    #[error("the stream name contains a control character")]
    Control,
    /// A segment is `.` or `..`.
    #[error("the stream name contains a `.` or `..` segment")]
    DotSegment,
    /// The first segment is `__ds`.
    #[error("stream names under `{RESERVED_SEGMENT}` are reserved")]
    Reserved,
}

impl StreamName {
    /// Parses the part of a request's path below the base, percent-decoded once.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn from_path(encoded: &str) -> Result<Self, NameError> {
        // Most names need no decoding.
        if !encoded.as_bytes().contains(&b'%') {
            return Self::new(encoded);
        }
        if !escapes_are_whole(encoded) {
            return Err(NameError::BadEscape);
        }
        let decoded = percent_decode_str(encoded)
            .decode_utf8()
            .map_err(|_| NameError::NotUtf8)?;
        Self::new(&decoded)
    }

    /// A name from decoded text, such as a token's claim.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn new(text: &str) -> Result<Self, NameError> {
        let name = Self::stored(text)?;
        if name.is_internal() {
            return Err(NameError::Reserved);
        }
        Ok(name)
    }

    /// A name that a store has, which may be [internal](Self::is_internal).
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn stored(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong);
        }
        let key = canonical(text);
        // A name that equals its key has no merged slashes. Most names do.
        let spelling = match &key {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            Cow::Owned(_) => Cow::Owned(restored(text)),
        };
        if spelling.len() > MAX_NAME_BYTES || key.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong);
        }
        if has_control(text) {
            return Err(NameError::Control);
        }
        let mut segments = key.as_bytes().split(|byte| *byte == b'/');
        if segments.any(|segment| matches!(segment, b"." | b"..")) {
            return Err(NameError::DotSegment);
        }
        if is_reserved(&key) && key.strip_prefix(INTERNAL).is_none_or(str::is_empty) {
            return Err(NameError::Reserved);
        }
        Ok(Self(match *key == *spelling {
            true => key.into(),
            false => format!("{key}\0{spelling}\0").into(),
        }))
    }

    /// The name of a stream that the server keeps for itself, which no request can name.
    ///
    /// # Errors
    /// See [`NameError`].
    pub(crate) fn internal(text: &str) -> Result<Self, NameError> {
        Self::stored(&format!("{INTERNAL}{text}"))
    }

    /// Whether the server keeps the stream for itself.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        is_reserved(self.key())
    }

    /// The original spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.parts().1
    }

    /// The form by which names are compared, ordered and stored: each run of slashes is one.
    #[must_use]
    pub fn key(&self) -> &str {
        self.parts().0
    }

    fn parts(&self) -> (&str, &str) {
        let both = self.0.strip_suffix('\0').and_then(|both| both.split_once('\0'));
        both.unwrap_or((&self.0, &self.0))
    }
}

/// The form in which names, prefixes and patterns of names are compared: each run of slashes
/// becomes two slashes after a colon (as in `gid://`), and one slash anywhere else. A prefix of a
/// name yields a prefix of its form.
#[must_use]
pub fn canonical(text: &str) -> Cow<'_, str> {
    if is_canonical(text) {
        return Cow::Borrowed(text);
    }
    let mut form = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        match c {
            '/' if form.ends_with(':') => form.push_str("//"),
            '/' if form.ends_with('/') => {}
            c => form.push(c),
        }
    }
    Cow::Owned(form)
}

/// Whether the first segment is reserved. A key begins with one slash at most.
fn is_reserved(key: &str) -> bool {
    let path = key.strip_prefix('/').unwrap_or(key);
    let below = path.strip_prefix(RESERVED_SEGMENT);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

fn has_control(text: &str) -> bool {
    if text.is_ascii() {
        return text.bytes().any(|byte| byte.is_ascii_control());
    }
    text.chars().any(char::is_control)
}

/// A spelling in which `gid://` replaces each `gid:/` that a proxy merged.
fn restored(text: &str) -> String {
    let mut whole = String::with_capacity(text.len() + 1);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("gid:/") {
        whole.push_str(before);
        let begins = whole.is_empty() || whole.ends_with('/');
        let merged = begins && !after.starts_with('/') && !after.is_empty();
        whole.push_str(if merged { "gid://" } else { "gid:/" });
        rest = after;
    }
    whole.push_str(rest);
    whole
}

/// Whether [`canonical`] would change nothing. True for most names.
fn is_canonical(text: &str) -> bool {
    let mut before = 0;
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'/' {
            let mut run = 1;
            while bytes.next_if_eq(&b'/').is_some() {
                run += 1;
            }
            if run != if before == b':' { 2 } else { 1 } {
                return false;
            }
        }
        before = byte;
    }
    true
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

impl PartialEq for StreamName {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for StreamName {}

impl PartialOrd for StreamName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StreamName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key())
    }
}

impl Hash for StreamName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

// `Borrow` requires equality, order and hash to be those of the key.
impl std::borrow::Borrow<str> for StreamName {
    fn borrow(&self) -> &str {
        self.key()
    }
}

impl serde::Serialize for StreamName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
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
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests;
