//! The protocol's headers: their names, and their values as types.

use http::{HeaderMap, HeaderName, header};

use crate::protocol::{BadInput, ContentType, Lifetime, Millis, Offset, ProducerStamp, RetentionPolicy};

macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal $label:literal;)*) => {
        $($(#[$doc])* pub const $constant: HeaderName = HeaderName::from_static($name);)*

        /// The headers above as people write them.
        const LABELS: &[&str] = &[$($label),*];
    };
}

names! {
    /// The offset after the content of a response.
    STREAM_NEXT_OFFSET = "stream-next-offset" "Stream-Next-Offset";
    /// The response ends at the stream's tail.
    STREAM_UP_TO_DATE = "stream-up-to-date" "Stream-Up-To-Date";
    /// The stream accepts no more appends.
    STREAM_CLOSED = "stream-closed" "Stream-Closed";
    /// For caches, see [`super::cursor`].
    STREAM_CURSOR = "stream-cursor" "Stream-Cursor";
    /// A writer's own, ever increasing sequence.
    STREAM_SEQ = "stream-seq" "Stream-Seq";
    /// Appends only at this tail. Not part of the protocol.
    STREAM_EXPECTED_OFFSET = "stream-expected-offset" "Stream-Expected-Offset";
    /// A sliding lifetime in seconds.
    STREAM_TTL = "stream-ttl" "Stream-TTL";
    /// The time at which a stream expires.
    STREAM_EXPIRES_AT = "stream-expires-at" "Stream-Expires-At";
    /// Age in seconds at which retention removes data. Not part of the protocol.
    STREAM_RETENTION_AGE = "stream-retention-age" "Stream-Retention-Age";
    /// How many bytes before its tail retention keeps. Not part of the protocol.
    STREAM_RETENTION_BYTES = "stream-retention-bytes" "Stream-Retention-Bytes";
    /// The earliest offset that retention has kept. Not part of the protocol.
    STREAM_EARLIEST_OFFSET = "stream-earliest-offset" "Stream-Earliest-Offset";
    /// The last offset of each earlier life that the stream continues. Not part of the protocol.
    STREAM_LIVES = "stream-lives" "Stream-Lives";
    /// The path of the stream to fork.
    STREAM_FORKED_FROM = "stream-forked-from" "Stream-Forked-From";
    /// The offset at which to fork.
    STREAM_FORK_OFFSET = "stream-fork-offset" "Stream-Fork-Offset";
    /// How many messages or bytes after that offset to fork.
    STREAM_FORK_SUB_OFFSET = "stream-fork-sub-offset" "Stream-Fork-Sub-Offset";
    /// `base64` where SSE carries binary data.
    STREAM_SSE_DATA_ENCODING = "stream-sse-data-encoding" "Stream-SSE-Data-Encoding";
    /// Producer id.
    PRODUCER_ID = "producer-id" "Producer-Id";
    /// The producer's epoch, incremented when it restarts.
    PRODUCER_EPOCH = "producer-epoch" "Producer-Epoch";
    /// The producer's request sequence number.
    PRODUCER_SEQ = "producer-seq" "Producer-Seq";
    /// The sequence number that would have been accepted.
    PRODUCER_EXPECTED_SEQ = "producer-expected-seq" "Producer-Expected-Seq";
    /// The sequence number that was refused.
    PRODUCER_RECEIVED_SEQ = "producer-received-seq" "Producer-Received-Seq";
    /// Sent by `EventSource` when it reconnects.
    LAST_EVENT_ID = "last-event-id" "Last-Event-ID";
    /// The id under which a refusal is logged.
    X_REQUEST_ID = "x-request-id" "X-Request-Id";
}

/// HTTP's own headers whose labels are shown to clients.
const HTTP_LABELS: &[&str] = &[
    "Authorization",
    "Cache-Control",
    "Content-Length",
    "Content-Type",
    "ETag",
    "If-None-Match",
    "Location",
    "Retry-After",
    "WWW-Authenticate",
];

/// 2^53-1, the largest integer that JavaScript holds exactly.
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;
const MAX_PRODUCER_ID_BYTES: usize = 256;
const MAX_STREAM_SEQ_BYTES: usize = 256;
/// 100 years in seconds; a longer lifetime is a mistake.
const MAX_TTL_SECS: u64 = 100 * 366 * 24 * 3600;

/// A header's name as people write it, such as `Stream-TTL`.
#[must_use]
pub fn label(name: &HeaderName) -> &'static str {
    let mut labels = LABELS.iter().chain(HTTP_LABELS);
    labels
        .find(|label| label.eq_ignore_ascii_case(name.as_str()))
        .unwrap_or(&"header")
}

/// The refusal of a header's value.
pub fn bad(name: &HeaderName, reason: impl Into<String>) -> BadInput {
    BadInput::new(label(name), reason)
}

/// A header's only value as text.
///
/// # Errors
/// It is repeated, or is not UTF-8.
pub fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, BadInput> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(bad(name, "is given more than once"));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad(name, "is not UTF-8"))?;
    Ok(Some(text.trim()))
}

/// `Content-Type`; an empty one counts as absent.
///
/// # Errors
/// See [`ContentType::parse`].
pub fn content_type(headers: &HeaderMap) -> Result<Option<ContentType>, BadInput> {
    let text = single(headers, &header::CONTENT_TYPE)?;
    text.filter(|text| !text.is_empty()).map(ContentType::parse).transpose()
}

/// `Stream-Closed`: only `true`, in any case, closes; any other value is ignored
/// (section 4.1). A header that is repeated, or joined with commas by a proxy (RFC 9110, section
/// 5.3), closes if all of its values do.
#[must_use]
pub fn is_closing(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(STREAM_CLOSED).iter();
    let mut values = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .peekable();
    values.peek().is_some() && values.all(|value| value.trim_ascii().eq_ignore_ascii_case(b"true"))
}

/// `Stream-TTL` and `Stream-Expires-At`, at most one of them (section 5.1).
///
/// # Errors
/// Both, or a malformed value.
pub fn lifetime(headers: &HeaderMap) -> Result<Option<Lifetime>, BadInput> {
    let ttl = single(headers, &STREAM_TTL)?;
    let expires_at = single(headers, &STREAM_EXPIRES_AT)?;
    match (ttl, expires_at) {
        (Some(_), Some(_)) => Err(bad(&STREAM_TTL, "cannot be combined with Stream-Expires-At")),
        (Some(ttl), None) => Ok(Some(Lifetime::Ttl(parse_ttl(ttl)?))),
        (None, Some(at)) => Ok(Some(Lifetime::ExpiresAt(parse_timestamp(at)?))),
        (None, None) => Ok(None),
    }
}

/// `Stream-Retention-Age` and `Stream-Retention-Bytes`, each a whole number of at least 1.
///
/// # Errors
/// A value that is not such a number.
pub fn retention(headers: &HeaderMap) -> Result<Option<RetentionPolicy>, BadInput> {
    let limit = |name: &HeaderName, max: u64, reason: &str| {
        let Some(text) = single(headers, name)? else {
            return Ok(None);
        };
        let limit = integer(text).filter(|limit| (1..=max).contains(limit));
        limit.map(Some).ok_or_else(|| bad(name, reason))
    };
    let policy = RetentionPolicy {
        max_age_secs: limit(
            &STREAM_RETENTION_AGE,
            MAX_TTL_SECS,
            "must be a whole number of seconds of at least 1, such as 86400, without sign or leading zeros",
        )?,
        max_bytes: limit(
            &STREAM_RETENTION_BYTES,
            MAX_SAFE_INTEGER,
            "must be a whole number of bytes of at least 1, without sign or leading zeros",
        )?,
    };
    Ok((policy != RetentionPolicy::default()).then_some(policy))
}

fn parse_ttl(text: &str) -> Result<u64, BadInput> {
    let seconds = integer(text).filter(|seconds| *seconds <= MAX_TTL_SECS);
    seconds.ok_or_else(|| {
        bad(
            &STREAM_TTL,
            "must be a whole number of seconds, such as 3600, without sign or leading zeros",
        )
    })
}

/// A time in the form of `Stream-Expires-At`, RFC 3339.
///
/// # Errors
/// Not of this form.
pub fn parse_timestamp(text: &str) -> Result<Millis, BadInput> {
    let malformed = || {
        bad(
            &STREAM_EXPIRES_AT,
            "must be an RFC 3339 timestamp, such as 2030-01-31T12:00:00Z",
        )
    };
    let has_date_and_time =
        text.len() >= "2030-01-31T12:00:00Z".len() && matches!(text.as_bytes().get(10), Some(b'T' | b't'));
    let timestamp: jiff::Timestamp = text.parse().ok().filter(|_| has_date_and_time).ok_or_else(malformed)?;
    u64::try_from(timestamp.as_millisecond()).map_err(|_| malformed())
}

/// A time in RFC 3339, for `Stream-Expires-At`.
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
/// Only some of them, an empty id, or a malformed number.
pub fn producer(headers: &HeaderMap) -> Result<Option<ProducerStamp>, BadInput> {
    let id = single(headers, &PRODUCER_ID)?;
    let epoch = single(headers, &PRODUCER_EPOCH)?;
    let seq = single(headers, &PRODUCER_SEQ)?;
    let together = "must come together with Producer-Id, Producer-Epoch and Producer-Seq";
    let (id, epoch, seq) = match (id, epoch, seq) {
        (None, None, None) => return Ok(None),
        (Some(id), Some(epoch), Some(seq)) => (id, epoch, seq),
        (Some(_), ..) => return Err(bad(&PRODUCER_ID, together)),
        (_, Some(_), _) => return Err(bad(&PRODUCER_EPOCH, together)),
        (.., Some(_)) => return Err(bad(&PRODUCER_SEQ, together)),
    };
    if id.is_empty() || id.len() > MAX_PRODUCER_ID_BYTES {
        return Err(bad(
            &PRODUCER_ID,
            format!("must have 1 to {MAX_PRODUCER_ID_BYTES} bytes"),
        ));
    }
    let number = |name: &HeaderName, text| {
        let value = integer_lenient(text).filter(|value| *value <= MAX_SAFE_INTEGER);
        value.ok_or_else(|| bad(name, "must be a whole number from 0 to 2^53-1"))
    };
    Ok(Some(ProducerStamp {
        id: id.to_owned(),
        epoch: number(&PRODUCER_EPOCH, epoch)?,
        seq: number(&PRODUCER_SEQ, seq)?,
    }))
}

/// `Stream-Seq` (section 5.2).
///
/// # Errors
/// Empty or too long.
pub fn stream_seq(headers: &HeaderMap) -> Result<Option<String>, BadInput> {
    match single(headers, &STREAM_SEQ)? {
        Some(seq) if seq.is_empty() || seq.len() > MAX_STREAM_SEQ_BYTES => {
            Err(bad(&STREAM_SEQ, format!("must have 1 to {MAX_STREAM_SEQ_BYTES} bytes")))
        }
        seq => Ok(seq.map(str::to_owned)),
    }
}

/// `Stream-Expected-Offset`
///
/// # Errors
/// Not an offset.
pub fn expected_offset(headers: &HeaderMap) -> Result<Option<Offset>, BadInput> {
    single(headers, &STREAM_EXPECTED_OFFSET)?
        .map(|offset| Offset::parse(label(&STREAM_EXPECTED_OFFSET), offset))
        .transpose()
}

/// The headers of an append besides its content type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppendHeaders {
    /// See [`producer`].
    pub producer: Option<ProducerStamp>,
    /// See [`stream_seq`].
    pub stream_seq: Option<String>,
    /// See [`expected_offset`].
    pub expected_tail: Option<Offset>,
}

/// The headers of an append.
///
/// # Errors
/// A malformed one.
pub fn append(headers: &HeaderMap) -> Result<AppendHeaders, BadInput> {
    let is_own = |name: &HeaderName| {
        ["stream-", "producer-"]
            .iter()
            .any(|own| name.as_str().starts_with(own))
    };
    // Most appends have none. Each look-up would hash its name.
    if !headers.keys().any(is_own) {
        return Ok(AppendHeaders::default());
    }
    Ok(AppendHeaders {
        producer: producer(headers)?,
        stream_seq: stream_seq(headers)?,
        expected_tail: expected_offset(headers)?,
    })
}

/// The fork headers of a `PUT` (section 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkHeaders<'h> {
    /// `Stream-Forked-From`, as it was sent.
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
    let from = single(headers, &STREAM_FORKED_FROM)?;
    let offset = single(headers, &STREAM_FORK_OFFSET)?;
    let sub_offset = single(headers, &STREAM_FORK_SUB_OFFSET)?;
    let Some(from) = from else {
        return match (offset, sub_offset) {
            (None, None) => Ok(None),
            (Some(_), _) => Err(bad(&STREAM_FORK_OFFSET, "needs Stream-Forked-From")),
            (None, Some(_)) => Err(bad(&STREAM_FORK_SUB_OFFSET, "needs Stream-Forked-From")),
        };
    };
    let offset = match offset {
        Some("-1") => Some(Offset::BEGINNING),
        Some(text) => Some(Offset::parse(label(&STREAM_FORK_OFFSET), text)?),
        None => None,
    };
    let sub_offset = match sub_offset {
        Some(text) => integer(text)
            .filter(|value| *value <= MAX_SAFE_INTEGER)
            .ok_or_else(|| {
                bad(
                    &STREAM_FORK_SUB_OFFSET,
                    "must be a whole number, without sign or leading zeros",
                )
            })?,
        None => 0,
    };
    if sub_offset > 0 && offset.is_none() {
        return Err(bad(&STREAM_FORK_SUB_OFFSET, "needs Stream-Fork-Offset"));
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
