//! JSON mode (section 9.1).
//!
//! A stream stores each message's own text, followed by `,` and a line feed. Line feeds and carriage
//! returns in the text, which only occur between tokens, become spaces, so that every line feed
//! ends a message. It follows that
//!
//! - a run of whole messages is the inside of an array as it is,
//! - a message begins at a position if a line feed precedes it,
//! - counting messages is counting line feeds.

mod fault;
mod scanner;

use bytes::Bytes;

use self::{fault::Fault, scanner::Scanner};
use super::{BadInput, Kind};

/// The separator after each message.
const SEPARATOR: &[u8] = b",\n";

/// A body in the form in which a stream of this kind stores it: messages flattened, other bytes as
/// they are.
///
/// # Errors
/// As [`flatten`].
pub fn stored_form(kind: Kind, body: Bytes, allow_empty: bool, max_depth: usize) -> Result<Bytes, BadInput> {
    match kind {
        Kind::Json if !body.is_empty() => flatten(&body, allow_empty, max_depth),
        Kind::Json | Kind::Text | Kind::Binary => Ok(body),
    }
}

/// A body's messages in their stored form: one level of array is flattened (section 9.1.2). Takes
/// one pass, and no more memory than the result.
///
/// # Errors
/// The body is not JSON; common parsers reject it (see [`scanner`]), for instance because a message
/// nests deeper than `max_depth`; or it is an empty array and `allow_empty` is not set
/// (section 9.1.3).
pub fn flatten(body: &[u8], allow_empty: bool, max_depth: usize) -> Result<Bytes, BadInput> {
    let mut scanner = Scanner::new(body, max_depth);
    let stored = messages(&mut scanner, body).map_err(|fault| scanner.bad_input(fault))?;
    if stored.is_empty() && !allow_empty {
        return Err(BadInput::new(
            "body",
            "is an empty JSON array; an append needs at least one message",
        ));
    }
    Ok(stored.into_boxed_slice().into())
}

fn messages(scanner: &mut Scanner<'_>, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut stored = Vec::new();
    scanner.check_utf8()?;
    scanner.skip_whitespace();
    if scanner.skip_byte(b'[') {
        // Each comma between messages becomes a separator, which is one byte longer.
        stored.reserve_exact(body.len() + body.iter().filter(|byte| **byte == b',').count());
        scanner.skip_whitespace();
        let mut more = !scanner.skip_byte(b']');
        while more {
            push(&mut stored, scanner.message()?);
            scanner.skip_whitespace();
            more = scanner.next_element()?;
        }
    } else {
        let message = scanner.message()?;
        stored.reserve_exact(message.text.len() + SEPARATOR.len());
        push(&mut stored, message);
    }
    scanner.finish()?;
    Ok(stored)
}

fn push(stored: &mut Vec<u8>, message: scanner::Message<'_>) {
    let start = stored.len();
    stored.extend_from_slice(message.text);
    if message.has_line_breaks {
        for byte in stored.iter_mut().skip(start) {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
    stored.extend_from_slice(SEPARATOR);
}

/// A run of whole messages as an array.
#[must_use]
pub fn array(messages: &[u8]) -> Bytes {
    let inner = without_last_separator(messages);
    let mut out = Vec::with_capacity(inner.len() + 2);
    out.push(b'[');
    out.extend_from_slice(inner);
    out.push(b']');
    out.into()
}

/// A run of whole messages as the inside of an array.
#[must_use]
pub fn without_last_separator(messages: &[u8]) -> &[u8] {
    messages.strip_suffix(SEPARATOR).unwrap_or(messages)
}

/// The length of the whole messages at the beginning.
#[must_use]
pub fn whole_messages(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Whether a message ends with these bytes, so that another may begin after them.
#[must_use]
pub fn ends_message(bytes: &[u8]) -> bool {
    bytes.last() == Some(&b'\n')
}

/// Where the first `count` messages of `bytes` end.
///
/// # Errors
/// The number of messages, if there are fewer.
pub fn end_of(count: u64, bytes: &[u8]) -> Result<usize, u64> {
    let mut found = 0;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        found += 1;
        if found == count {
            return Ok(at + 1);
        }
    }
    Err(found)
}

#[cfg(test)]
mod tests;
