//! `Cache-Control` and entity tags of reads (section 10.1).

use std::{cmp::min, fmt::Write};

use form_urlencoded::parse;
use http::{HeaderMap, HeaderValue, header, request::Parts};

use crate::{
    auth::Permit,
    clock::Clock,
    engine::Identity,
    protocol::{Lifetime, Offset},
};

/// Which caches may keep reads, and whether they must revalidate them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// The reader's own client, which revalidates before each use: a stream may be deleted or
    /// recreated at any time.
    Private,
    /// Shared caches too, which revalidate before each use.
    Revalidated,
    /// Shared caches too, for a while without revalidation: the operator accepts that a deleted
    /// stream is shown for that long.
    Public,
    /// As [`Caching::Public`] for requests whose only token is in the URL, which is the key of a
    /// shared cache. Other requests get [`Caching::Private`].
    PublicBySignedUrl,
}

/// No cache may keep the response.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// `max-age` and `stale-while-revalidate` of section 10.1, in seconds.
const MAX_AGE: u64 = 60;
const STALE_WHILE_REVALIDATE: u64 = 300;

impl Caching {
    /// The policy for one request.
    pub(super) fn of(self, request: &Parts) -> Self {
        match self {
            Self::PublicBySignedUrl if has_signed_url(request) => Self::Public,
            Self::PublicBySignedUrl => Self::Private,
            other => other,
        }
    }

    /// For a response with content. Content never changes, but the stream may end: `life_left` is
    /// the number of seconds after which the response must not be shown, if there is such a limit.
    pub(super) fn content(self, life_left: impl FnOnce() -> Option<u64>) -> HeaderValue {
        if self != Self::Public {
            return self.revalidated();
        }
        let Some(left) = life_left().filter(|left| *left < MAX_AGE + STALE_WHILE_REVALIDATE) else {
            return HeaderValue::from_static("public, max-age=60, stale-while-revalidate=300");
        };
        let max_age = min(left, MAX_AGE);
        let mut text = format!("public, max-age={max_age}");
        let stale = left - max_age;
        // Writing to a string cannot fail.
        let _ = match stale {
            0 => write!(text, ", must-revalidate"),
            stale => write!(text, ", stale-while-revalidate={stale}"),
        };
        HeaderValue::try_from(text).unwrap_or(NO_STORE)
    }

    /// For a response that has no end of its own.
    pub(super) fn live(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Private | Self::PublicBySignedUrl => "private, no-cache, no-transform",
            Self::Revalidated | Self::Public => "no-cache, no-transform",
        })
    }

    /// For a response that must be revalidated before each use.
    pub(super) fn revalidated(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Private | Self::PublicBySignedUrl => "private, no-cache",
            Self::Revalidated | Self::Public => "public, no-cache",
        })
    }
}

/// Whether a request's only token is in its URL.
fn has_signed_url(request: &Parts) -> bool {
    let query = request.uri.query().unwrap_or_default();
    !request.headers.contains_key(header::AUTHORIZATION) && parse(query.as_bytes()).any(|(name, _)| name == "token")
}

/// What lifetimes are judged by.
pub(super) struct Clocks<'a> {
    /// For streams: the clock that all servers of a store share.
    pub(super) store: Clock,
    /// For tokens.
    pub(super) server: &'a Clock,
}

/// For how many seconds a response may be shown: no longer than the stream surely lives, and no
/// longer than the token is valid. `None` if neither ends.
pub(super) fn life_left(lifetime: Lifetime, permit: &Permit, clocks: &Clocks<'_>) -> Option<u64> {
    let stream = match lifetime {
        Lifetime::Unlimited => None,
        // Each read renews it.
        Lifetime::Ttl(secs) => Some(secs),
        Lifetime::ExpiresAt(at) => Some(at.saturating_sub(clocks.store.millis()) / 1000),
    };
    let token = permit.expires_at().map(|at| at.saturating_sub(clocks.server.secs()));
    stream.into_iter().chain(token).min()
}

/// Capacity for an entity tag, so that the string need not grow.
const TAG_LEN: usize = 96;

/// The entity tag of a range of a stream. It changes when the stream is closed.
pub(super) fn tag(stream: Identity, start: Offset, end: Offset, closed: bool) -> String {
    let [created_at, id] = stream.numbers();
    let mut tag = String::with_capacity(TAG_LEN);
    // Not with a colon before the end: earlier versions did so, and wrote positions in decimal.
    for (mark, number) in [('"', created_at), ('-', id), (':', start.position), ('-', end.position)] {
        tag.push(mark);
        push_hex(&mut tag, number);
    }
    if let Some(history) = stream.history() {
        tag.push_str(":h");
        push_hex(&mut tag, history);
    }
    tag.push_str(if closed { ":c\"" } else { "\"" });
    tag
}

/// Every read has a tag, and the formatter costs several times as much.
fn push_hex(text: &mut String, number: u64) {
    let digits = number.checked_ilog2().map_or(1, |log| log / 4 + 1);
    let digits = (0..digits).rev().map(|digit| (number >> (4 * digit)) as u32 & 0xf);
    text.extend(digits.filter_map(|digit| char::from_digit(digit, 16)));
}

/// Whether `If-None-Match` names this tag (RFC 9110, section 13.1.2: weak comparison).
pub(crate) fn matches(request: &HeaderMap, tag: &str) -> bool {
    let lines = request.get_all(header::IF_NONE_MATCH).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_response_is_not_cached_beyond_its_life() {
        for (left, expected) in [
            (None, "public, max-age=60, stale-while-revalidate=300"),
            (Some(360), "public, max-age=60, stale-while-revalidate=300"),
            (Some(359), "public, max-age=60, stale-while-revalidate=299"),
            (Some(61), "public, max-age=60, stale-while-revalidate=1"),
            (Some(60), "public, max-age=60, must-revalidate"),
            (Some(2), "public, max-age=2, must-revalidate"),
            (Some(0), "public, max-age=0, must-revalidate"),
        ] {
            assert_eq!(Caching::Public.content(|| left), expected);
            assert_eq!(Caching::Private.content(|| left), "private, no-cache");
            assert_eq!(Caching::Revalidated.content(|| left), "public, no-cache");
        }
    }

    #[test]
    fn shared_caches_keep_only_responses_to_signed_urls() {
        let of = |target: &str, authorization: bool| {
            let mut request = Request::get(target);
            if authorization {
                request = request.header("authorization", "Bearer x");
            }
            Caching::PublicBySignedUrl.of(&request.body(()).unwrap().into_parts().0)
        };
        assert_eq!(of("/s?token=x", false), Caching::Public);
        assert_eq!(of("/s?a=b&%74oken=x", false), Caching::Public);
        assert_eq!(of("/s?token=x", true), Caching::Private);
        assert_eq!(of("/s", true), Caching::Private);
        assert_eq!(of("/s?tokens=x", false), Caching::Private);
    }
}
