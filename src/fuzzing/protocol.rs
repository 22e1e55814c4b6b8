//! Names, offsets, headers, JSON: what a client writes into a request.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;

use super::header_lines;
use crate::{
    http::{caching, query::ReadQuery},
    protocol::Lifetime,
    protocol::{
        ContentType, Offset, ReadFrom, StreamName, cursor,
        headers::{self as parse, format_timestamp},
        json as messages,
        name::MAX_NAME_BYTES,
    },
};

/// How deep JSON messages may nest here.
const JSON_DEPTH: usize = 64;

/// Stream names, as text and out of a path.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for name in [StreamName::new(text), StreamName::from_path(text)]
        .into_iter()
        .flatten()
    {
        let text = name.as_str();
        assert!((1..=MAX_NAME_BYTES).contains(&text.len()));
        assert!(!text.chars().any(char::is_control));
        assert!(!text.split('/').any(|segment| segment == "." || segment == ".."));
        assert_ne!(text.split('/').next(), Some("__ds"));
        assert_eq!(StreamName::new(text).as_ref(), Ok(&name));
        let path = utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        assert_eq!(StreamName::from_path(&path), Ok(name));
    }
}

/// Offsets, cursors, and the query of a read.
pub fn offsets(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = ReadQuery::parse(Some(text));
    let _ = cursor::parse(text);
    if let Ok(ReadFrom::At(offset)) = ReadFrom::parse(text) {
        let shown = offset.to_string();
        assert_eq!(shown.len(), text.len(), "offsets are of one length");
        assert_eq!(shown[..32], text[..32], "an offset has one form but for its last digit");
    }
    let numbers = data.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let numbers: Vec<u64> = numbers.collect();
    let mut before: Option<Offset> = None;
    for pair in numbers.as_chunks::<2>().0 {
        let [incarnation, position] = *pair;
        let offset = Offset {
            incarnation: incarnation % (Offset::MAX_INCARNATION + 1),
            position: position % (Offset::MAX_POSITION + 1),
        };
        let shown = offset.to_string();
        assert_eq!(Offset::parse("offset", &shown), Ok(offset));
        if let Some(before) = before {
            assert_eq!(
                before.cmp(&offset),
                before.to_string().cmp(&shown),
                "offsets sort as text"
            );
        }
        before = Some(offset);
    }
}

/// The headers of the protocol, from lines of `name: value`.
pub fn headers(data: &[u8]) {
    let headers = header_lines(data.split(|byte| *byte == b'\n'));
    let _ = parse::is_closing(&headers);
    let _ = parse::retention(&headers);
    if let Ok(Some(Lifetime::ExpiresAt(at))) = parse::lifetime(&headers) {
        let shown = format_timestamp(at);
        let again = header_lines([format!("stream-expires-at: {shown}").as_bytes()].into_iter());
        assert_eq!(parse::lifetime(&again), Ok(Some(Lifetime::ExpiresAt(at))), "{shown}");
    }
    if let Ok(Some(stamp)) = parse::producer(&headers) {
        assert!((1..=256).contains(&stamp.id.len()));
        assert!(stamp.epoch.max(stamp.seq) <= parse::MAX_SAFE_INTEGER);
    }
    if let Ok(Some(seq)) = parse::stream_seq(&headers) {
        assert!((1..=256).contains(&seq.len()));
    }
    if let Ok(Some(fork)) = parse::fork(&headers) {
        assert!(fork.sub_offset == 0 || fork.offset.is_some());
    }
    for value in headers.values() {
        let Some(known) = value.to_str().ok().and_then(|text| ContentType::parse(text).ok()) else {
            continue;
        };
        let again = ContentType::parse(known.as_str()).unwrap();
        assert!(known.matches(&again) && known.kind() == again.kind());
    }
    let _ = caching::matches(&headers, "\"0:0:1\"");
}

/// JSON bodies, and the form in which their messages are kept.
pub fn json(data: &[u8]) {
    let stored = match messages::flatten(data, true, JSON_DEPTH) {
        Ok(stored) => stored,
        Err(error) => {
            // Only what is not JSON is refused as such.
            let is_json = serde_json::from_slice::<&RawValue>(data).is_ok();
            assert!(!(is_json && error.reason.contains("is not valid JSON")), "{error}");
            return;
        }
    };
    let sent: serde_json::Result<serde_json::Value> = serde_json::from_slice(data);
    let kept: serde_json::Result<Vec<serde_json::Value>> = serde_json::from_slice(&messages::array(&stored));
    let (sent, kept) = (sent.unwrap(), kept.unwrap());
    let sent = match sent {
        serde_json::Value::Array(messages) => messages,
        one => vec![one],
    };
    assert_eq!(sent, kept);
    assert_eq!(stored.iter().filter(|byte| **byte == b'\n').count(), kept.len());
    whole_messages(&stored);
}

/// Every place in a stored body is cut at the same message's end, however it is asked for.
fn whole_messages(stored: &[u8]) {
    assert_eq!(messages::whole_messages(stored), stored.len());
    let mut begin = 0;
    for count in 1.. {
        let Ok(end) = messages::end_of(count, stored) else {
            assert_eq!(messages::end_of(count, stored), Err(count - 1));
            assert_eq!(begin, stored.len());
            break;
        };
        assert!(messages::ends_message(&stored[..end]));
        assert_eq!(messages::whole_messages(&stored[..end - 1]), begin);
        let array = messages::array(&stored[begin..end]);
        let one: Vec<&RawValue> = serde_json::from_slice(&array).unwrap();
        assert_eq!(one.len(), 1, "a message does not end inside of itself");
        begin = end;
    }
}
