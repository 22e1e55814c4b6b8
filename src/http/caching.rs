//! Who may keep an answer, and how long (section 10.1).

use http::HeaderValue;

use crate::{
    engine::{Identity, Slice},
    protocol::Offset,
};

/// Who may cache reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Only the reader's own client.
    Private,
    /// Shared caches too.
    Public,
}

/// Never kept.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

impl Caching {
    /// For an answer with content, which never changes.
    pub(super) fn content(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Private => "private, max-age=60, stale-while-revalidate=300",
            Self::Public => "public, max-age=60, stale-while-revalidate=300",
        })
    }

    /// For an answer that goes on as long as it can.
    pub(super) fn live(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Private => "private, no-cache, no-transform",
            Self::Public => "no-cache, no-transform",
        })
    }

    /// For an answer that said that there is nothing yet: good only after asking again.
    pub(super) fn nothing_yet(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Private => "private, no-cache",
            Self::Public => "public, no-cache",
        })
    }
}

/// The entity tag of a part of a stream. It changes when the stream is closed.
pub(super) fn etag(slice: &Slice) -> String {
    tag(slice.identity, slice.start, slice.end, slice.closed)
}

pub(super) fn tag(stream: Identity, start: Offset, end: Offset, closed: bool) -> String {
    let mark = if closed { ":c" } else { "" };
    let (start, end) = (start.position, end.position);
    format!("\"{stream}:{start}:{end}{mark}\"")
}

/// Whether `If-None-Match` names this tag (RFC 9110, section 13.1.2: weak comparison).
pub(crate) fn matches(if_none_match: Option<&HeaderValue>, tag: &str) -> bool {
    let Some(listed) = if_none_match.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    listed
        .split(',')
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}
