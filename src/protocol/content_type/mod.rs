//! Content types (section 9).

use std::borrow::Cow;

use super::BadInput;

/// The content type of a stream that was created without one.
pub const DEFAULT: &str = "application/octet-stream";

/// The maximum length of a content type in bytes.
const MAX_BYTES: usize = 255;

/// Content types of most streams, which need no parsing.
const COMMON: [(&str, Kind); 4] = [
    ("application/json", Kind::Json),
    ("text/plain", Kind::Text),
    ("text/plain; charset=utf-8", Kind::Text),
    (DEFAULT, Kind::Binary),
];

/// A content type as it was given, and how it is treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    text: Cow<'static, str>,
    kind: Kind,
}

/// How a stream of a content type is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `application/json`: messages, read as an array.
    Json,
    /// `text/*` in UTF-8, judged by its `charset`: bytes, sent over SSE as they are.
    Text,
    /// Anything else: bytes, sent over SSE in base64. This includes text in another charset,
    /// because events are UTF-8.
    Binary,
}

impl ContentType {
    /// Parses a `Content-Type`.
    ///
    /// # Errors
    /// Not of the form `type/subtype`, or longer than 255 bytes.
    pub fn parse(text: &str) -> Result<Self, BadInput> {
        if let Some(common) = Self::common(text) {
            return Ok(common);
        }
        let text = text.trim();
        let essence = essence(text);
        if text.len() > MAX_BYTES {
            return Err(BadInput::new(
                "Content-Type",
                format!("is longer than {MAX_BYTES} bytes"),
            ));
        }
        let is_token = |part: &str| !part.is_empty() && part.bytes().all(is_token_byte);
        match essence.split_once('/') {
            Some((main, sub)) if is_token(main) && is_token(sub) => Ok(Self {
                kind: kind_of(essence, text),
                text: Cow::Owned(text.to_owned()),
            }),
            _ => Err(BadInput::new("Content-Type", "is not of the form `type/subtype`")),
        }
    }

    /// One of the content types that most requests have, which need neither parsing nor memory.
    fn common(text: &str) -> Option<Self> {
        let (text, kind) = COMMON.into_iter().find(|(common, _)| *common == text)?;
        Some(Self {
            text: Cow::Borrowed(text),
            kind,
        })
    }

    /// The content type of a stream that was created without one.
    #[must_use]
    pub fn default_type() -> Self {
        Self {
            text: Cow::Borrowed(DEFAULT),
            kind: Kind::Binary,
        }
    }

    /// As it was given at creation.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How streams of this type are treated.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether both name the same type, in any case and with any parameters.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.text == other.text || essence(&self.text).eq_ignore_ascii_case(essence(&other.text))
    }
}

fn essence(text: &str) -> &str {
    text.split(';').next().unwrap_or(text).trim()
}

fn kind_of(essence: &str, text: &str) -> Kind {
    let starts_with_text = essence
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("text/"));
    if essence.eq_ignore_ascii_case("application/json") {
        Kind::Json
    } else if starts_with_text && charset(text).is_none_or(is_utf8) {
        Kind::Text
    } else {
        Kind::Binary
    }
}

/// The value of the parameter `charset` (RFC 9110, section 8.3.2).
fn charset(text: &str) -> Option<&str> {
    text.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        is_charset.then(|| value.trim().trim_matches('"'))
    })
}

/// Whether text of this charset is UTF-8.
fn is_utf8(charset: &str) -> bool {
    ["utf-8", "utf8", "us-ascii", "ascii"]
        .iter()
        .any(|known| charset.eq_ignore_ascii_case(known))
}

/// A byte of a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
