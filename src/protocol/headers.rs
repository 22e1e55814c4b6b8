//! The protocol's headers: their names, and their values as types.

use http::{HeaderMap, HeaderName};

use super::{BadInput, Offset};
use crate::protocol::{Lifetime, Millis, ProducerStamp, RetentionPolicy};

macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: HeaderName = HeaderName::from_static($name);)*
    };
}

names! {
    /// The offset after the content of an answer.
    STREAM_NEXT_OFFSET = "stream-next-offset";
    /// Nothing more is there right now.
    STREAM_UP_TO_DATE = "stream-up-to-date";
    /// Nothing more will ever come.
    STREAM_CLOSED = "stream-closed";
    /// For caches, see [`super::cursor`].
    STREAM_CURSOR = "stream-cursor";
    /// A writer's own, ever increasing sequence.
    STREAM_SEQ = "stream-seq";
    /// A sliding lifetime in seconds.
    STREAM_TTL = "stream-ttl";
    /// The moment at which a stream ends.
    STREAM_EXPIRES_AT = "stream-expires-at";
    /// Seconds after which a stream gives up what was written to it. Not of the protocol.
    STREAM_RETENTION_AGE = "stream-retention-age";
    /// How many bytes before its tail a stream keeps. Not of the protocol.
    STREAM_RETENTION_BYTES = "stream-retention-bytes";
    /// The earliest offset that a stream keeps, if it has given something up. Not of the protocol.
    STREAM_EARLIEST_OFFSET = "stream-earliest-offset";
    /// The last offset of each earlier life that a stream goes on from. Not of the protocol.
    STREAM_LIVES = "stream-lives";
    /// The path of the stream to fork.
    STREAM_FORKED_FROM = "stream-forked-from";
    /// Where to fork it.
    STREAM_FORK_OFFSET = "stream-fork-offset";
    /// How far after that.
    STREAM_FORK_SUB_OFFSET = "stream-fork-sub-offset";
    /// `base64` where SSE carries binary data.
    STREAM_SSE_DATA_ENCODING = "stream-sse-data-encoding";
    /// Who retries.
    PRODUCER_ID = "producer-id";
    /// Since which of its starts.
    PRODUCER_EPOCH = "producer-epoch";
    /// Which of its requests.
    PRODUCER_SEQ = "producer-seq";
    /// The sequence number that would have been accepted.
    PRODUCER_EXPECTED_SEQ = "producer-expected-seq";
    /// The one that came.
    PRODUCER_RECEIVED_SEQ = "producer-received-seq";
}

/// 2^53-1, the largest integer that JavaScript holds exactly.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
const MAX_PRODUCER_ID_BYTES: usize = 256;
const MAX_STREAM_SEQ_BYTES: usize = 256;
/// 100 years in seconds: longer lifetimes are mistakes.
const MAX_TTL_SECS: u64 = 100 * 366 * 24 * 3600;

/// A header's only value as text.
///
/// # Errors
/// It is there twice, or is not visible ASCII or UTF-8.
pub fn single<'h>(headers: &'h HeaderMap, name: &HeaderName, shown: &'static str) -> Result<Option<&'h str>, BadInput> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(BadInput::new(shown, "is given more than once"));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| BadInput::new(shown, "is not UTF-8"))?;
    Ok(Some(text.trim()))
}

/// `Stream-Closed`: only `true`, in any case, closes; any other value is ignored
/// (section 4.1). A header that is repeated, or joined with commas by a proxy (RFC 9110, section
/// 5.3), closes if all of its values do.
#[must_use]
pub fn closes(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(STREAM_CLOSED).iter();
    let mut values = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .peekable();
    values.peek().is_some() && values.all(|value| value.trim_ascii().eq_ignore_ascii_case(b"true"))
}

/// `Stream-TTL` and `Stream-Expires-At`, at most one of them (section 5.1).
///
/// # Errors
/// Both, or a value that is not of the form that the section asks for.
pub fn lifetime(headers: &HeaderMap) -> Result<Option<Lifetime>, BadInput> {
    let ttl = single(headers, &STREAM_TTL, "Stream-TTL")?;
    let expires_at = single(headers, &STREAM_EXPIRES_AT, "Stream-Expires-At")?;
    match (ttl, expires_at) {
        (Some(_), Some(_)) => Err(BadInput::new("Stream-TTL", "cannot be combined with Stream-Expires-At")),
        (Some(ttl), None) => Ok(Some(Lifetime::Ttl(parse_ttl(ttl)?))),
        (None, Some(at)) => Ok(Some(Lifetime::ExpiresAt(parse_timestamp(at)?))),
        (None, None) => Ok(None),
    }
}

/// `Stream-Retention-Age` and `Stream-Retention-Bytes`, each a whole number from 1 on.
///
/// # Errors
/// A value that is none.
pub fn retention(headers: &HeaderMap) -> Result<Option<RetentionPolicy>, BadInput> {
    let limit = |name: &HeaderName, shown: &'static str, largest: u64, reason: &str| {
        let text = single(headers, name, shown)?;
        let limit = text.map(|text| integer(text).filter(|limit| (1..=largest).contains(limit)).ok_or(()));
        limit.transpose().map_err(|()| BadInput::new(shown, reason))
    };
    let policy = RetentionPolicy {
        max_age_secs: limit(
            &STREAM_RETENTION_AGE,
            "Stream-Retention-Age",
            MAX_TTL_SECS,
            "must be a whole number of seconds from 1 on, such as 86400, without sign or leading zeros",
        )?,
        max_bytes: limit(
            &STREAM_RETENTION_BYTES,
            "Stream-Retention-Bytes",
            MAX_SAFE_INTEGER,
            "must be a whole number of bytes from 1 on, without sign or leading zeros",
        )?,
    };
    Ok((policy != RetentionPolicy::default()).then_some(policy))
}

fn parse_ttl(text: &str) -> Result<u64, BadInput> {
    let seconds = integer(text).filter(|seconds| *seconds <= MAX_TTL_SECS);
    seconds.ok_or_else(|| {
        BadInput::new(
            "Stream-TTL",
            "must be a whole number of seconds, such as 3600, without sign or leading zeros",
        )
    })
}

/// A moment in the form of `Stream-Expires-At`, RFC 3339.
///
/// # Errors
/// Not of this form.
pub fn parse_timestamp(text: &str) -> Result<Millis, BadInput> {
    let malformed = || {
        BadInput::new(
            "Stream-Expires-At",
            "must be an RFC 3339 timestamp, such as 2030-01-31T12:00:00Z",
        )
    };
    let has_date_and_time =
        text.len() >= "2030-01-31T12:00:00Z".len() && matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    let timestamp: jiff::Timestamp = text.parse().ok().filter(|_| has_date_and_time).ok_or_else(malformed)?;
    u64::try_from(timestamp.as_millisecond()).map_err(|_| malformed())
}

/// A moment as RFC 3339, for `Stream-Expires-At`.
#[must_use]
pub fn format_timestamp(at: Millis) -> String {
    let millis = i64::try_from(at).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .map(|at| format!("{at:.3}"))
        .unwrap_or_default()
}

/// The three producer headers, all or none (section 5.2.1).
///
/// # Errors
/// Only some of them, an empty id, or numbers that are none.
pub fn producer(headers: &HeaderMap) -> Result<Option<ProducerStamp>, BadInput> {
    let id = single(headers, &PRODUCER_ID, "Producer-Id")?;
    let epoch = single(headers, &PRODUCER_EPOCH, "Producer-Epoch")?;
    let seq = single(headers, &PRODUCER_SEQ, "Producer-Seq")?;
    let together = "must come together with Producer-Id, Producer-Epoch and Producer-Seq";
    let (id, epoch, seq) = match (id, epoch, seq) {
        (None, None, None) => return Ok(None),
        (Some(id), Some(epoch), Some(seq)) => (id, epoch, seq),
        (Some(_), ..) => return Err(BadInput::new("Producer-Id", together)),
        (_, Some(_), _) => return Err(BadInput::new("Producer-Epoch", together)),
        (.., Some(_)) => return Err(BadInput::new("Producer-Seq", together)),
    };
    if id.is_empty() || id.len() > MAX_PRODUCER_ID_BYTES {
        return Err(BadInput::new(
            "Producer-Id",
            format!("must have 1 to {MAX_PRODUCER_ID_BYTES} bytes"),
        ));
    }
    let number = |name, text| {
        let value = integer_lenient(text).filter(|value| *value <= MAX_SAFE_INTEGER);
        value.ok_or_else(|| BadInput::new(name, "must be a whole number from 0 to 2^53-1"))
    };
    Ok(Some(ProducerStamp {
        id: id.to_owned(),
        epoch: number("Producer-Epoch", epoch)?,
        seq: number("Producer-Seq", seq)?,
    }))
}

/// `Stream-Seq` (section 5.2); its scope here is the stream.
///
/// # Errors
/// Empty or too long.
pub fn stream_seq(headers: &HeaderMap) -> Result<Option<String>, BadInput> {
    match single(headers, &STREAM_SEQ, "Stream-Seq")? {
        Some(seq) if seq.is_empty() || seq.len() > MAX_STREAM_SEQ_BYTES => Err(BadInput::new(
            "Stream-Seq",
            format!("must have 1 to {MAX_STREAM_SEQ_BYTES} bytes"),
        )),
        seq => Ok(seq.map(str::to_owned)),
    }
}

/// What a `PUT` says about forking (section 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkHeaders<'h> {
    /// `Stream-Forked-From`, as it came.
    pub from: &'h str,
    /// `Stream-Fork-Offset`; `None`: the source's tail.
    pub offset: Option<Offset>,
    /// `Stream-Fork-Sub-Offset`
    pub sub_offset: u64,
}

/// The fork headers.
///
/// # Errors
/// An offset without a source, a sub-offset without an offset, or malformed values.
pub fn fork(headers: &HeaderMap) -> Result<Option<ForkHeaders<'_>>, BadInput> {
    let from = single(headers, &STREAM_FORKED_FROM, "Stream-Forked-From")?;
    let offset = single(headers, &STREAM_FORK_OFFSET, "Stream-Fork-Offset")?;
    let sub_offset = single(headers, &STREAM_FORK_SUB_OFFSET, "Stream-Fork-Sub-Offset")?;
    let Some(from) = from else {
        return match (offset, sub_offset) {
            (None, None) => Ok(None),
            (Some(_), _) => Err(BadInput::new("Stream-Fork-Offset", "needs Stream-Forked-From")),
            (None, Some(_)) => Err(BadInput::new("Stream-Fork-Sub-Offset", "needs Stream-Forked-From")),
        };
    };
    let offset = match offset {
        Some("-1") => Some(Offset::BEGINNING),
        Some(text) => Some(Offset::parse("Stream-Fork-Offset", text)?),
        None => None,
    };
    let sub_offset = match sub_offset {
        Some(text) => integer(text)
            .filter(|value| *value <= MAX_SAFE_INTEGER)
            .ok_or_else(|| {
                BadInput::new(
                    "Stream-Fork-Sub-Offset",
                    "must be a whole number, without sign or leading zeros",
                )
            })?,
        None => 0,
    };
    if sub_offset > 0 && offset.is_none() {
        return Err(BadInput::new("Stream-Fork-Sub-Offset", "needs Stream-Fork-Offset"));
    }
    Ok(Some(ForkHeaders {
        from,
        offset,
        sub_offset,
    }))
}

/// Decimal digits without sign or leading zeros.
fn integer(text: &str) -> Option<u64> {
    let plain = text == "0" || !text.starts_with('0');
    integer_lenient(text).filter(|_| plain)
}

fn integer_lenient(text: &str) -> Option<u64> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits_only.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
