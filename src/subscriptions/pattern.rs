//! Patterns of stream names (section 6.2).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::protocol::{
    BadInput, StreamName,
    name::{MAX_NAME_BYTES, RESERVED_SEGMENT, canonical},
};

/// Bounds the depth of the index and the work of a match.
const MAX_SEGMENTS: usize = 64;

/// A pattern in which `*` matches one path segment and `**` zero or more.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    /// In the form in which names are compared.
    text: String,
    segments: Vec<Segment>,
}

/// One segment of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(Box<str>),
    One,
    Any,
}

impl Pattern {
    /// Parses a pattern. `%2A` is a literal asterisk.
    ///
    /// # Errors
    /// A pattern that could not match, or that is too long.
    pub fn parse(text: &str) -> Result<Self, BadInput> {
        let bad = |reason: &str| Err(BadInput::new("pattern", reason.to_owned()));
        let text = canonical(text.trim_start_matches('/')).into_owned();
        if text.is_empty() {
            return bad("is empty");
        }
        if text.len() > MAX_NAME_BYTES {
            return bad("is longer than the longest stream name");
        }
        if text.chars().any(char::is_control) {
            return bad("has a control character, which no stream name has");
        }
        let mut segments = Vec::new();
        for segment in text.split('/') {
            match segment {
                "." | ".." => return bad("has a `.` or `..` segment, which no stream name has"),
                "*" => segments.push(Segment::One),
                "**" if segments.last() == Some(&Segment::Any) => {}
                "**" => segments.push(Segment::Any),
                mixed if mixed.contains('*') => {
                    return bad("`*` and `**` must be whole segments; a literal asterisk is %2A");
                }
                literal => {
                    let literal = literal.replace("%2A", "*").replace("%2a", "*");
                    segments.push(Segment::Literal(literal.into()));
                }
            }
        }
        if segments.len() > MAX_SEGMENTS {
            return bad("has more than 64 segments");
        }
        if matches!(segments.first(), Some(Segment::Literal(first)) if **first == *RESERVED_SEGMENT) {
            return bad("cannot match: names under `__ds` are reserved");
        }
        Ok(Self { text, segments })
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The beginning that all matching names have in common.
    pub(super) fn prefix(&self) -> String {
        let literals = self.segments.iter().map_while(|segment| match segment {
            Segment::Literal(literal) => Some(&**literal),
            Segment::One | Segment::Any => None,
        });
        literals.collect::<Vec<_>>().join("/")
    }

    /// Whether the pattern matches a name. The work grows with the product of both lengths at most.
    #[must_use]
    pub fn matches(&self, name: &StreamName) -> bool {
        let mut at = self.with_skips(vec![0]);
        for part in name.key().split('/') {
            let mut next = Vec::new();
            for &index in &at {
                match self.segments.get(index) {
                    Some(Segment::Any) => next.push(index),
                    Some(Segment::One) => next.push(index + 1),
                    Some(Segment::Literal(literal)) if **literal == *part => next.push(index + 1),
                    Some(Segment::Literal(_)) | None => {}
                }
            }
            at = self.with_skips(next);
        }
        at.contains(&self.segments.len())
    }

    /// Adds the segments that follow when a `**` matches nothing more.
    fn with_skips(&self, at: Vec<usize>) -> Vec<usize> {
        let mut all: Vec<usize> = Vec::with_capacity(at.len() + 1);
        for mut index in at {
            loop {
                if all.contains(&index) {
                    break;
                }
                all.push(index);
                if self.segments.get(index) != Some(&Segment::Any) {
                    break;
                }
                index += 1;
            }
        }
        all
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|error| serde::de::Error::custom(error.reason))
    }
}
