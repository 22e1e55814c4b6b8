//! Events as text (section 5.8 and the HTML standard, server-sent events).

use std::{
    fmt::Write,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::super::content;
use crate::{
    clock,
    engine::Chunk,
    protocol::{
        Kind, Offset,
        cursor::{self, Cursor},
        json::without_last_separator,
    },
};

/// A comment, so that proxies do not take a quiet stream for a dead one.
pub(super) const HEARTBEAT: &[u8] = b": \n\n";

/// How far a reader is with a control event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// More is there already.
    Behind,
    /// Everything was sent.
    UpToDate,
    /// Everything was sent, and nothing will follow.
    Closed,
}

/// The state of one connection that the next event depends on.
#[derive(Debug)]
pub(super) struct Connection {
    /// The lowest cursor that may follow.
    least: Cursor,
    /// The last byte of text was a CR. A LF after it belongs to the same line end.
    after_cr: bool,
}

impl Connection {
    /// For a client that sent the cursor `client`, if it sent one.
    pub(super) fn new(client: Option<Cursor>) -> Self {
        let now = clock::now_millis();
        let least = client.filter(|client| *client >= cursor::interval(now));
        Self {
            least: least.map_or(0, |client| cursor::next(now, Some(client))),
            after_cr: false,
        }
    }

    /// The cursor to send now. It does not go back where the clock does.
    pub(super) fn cursor(&mut self) -> Cursor {
        self.least = self.least.max(cursor::interval(clock::now_millis()));
        self.least
    }

    /// A chunk as events. Those that all readers share are made once; a control event of this
    /// connection's own follows as the second part. Clients that come back have a cursor of
    /// their own, so a busy stream soon has no others.
    pub(super) fn encode(&mut self, shared: &Arc<Chunk>, state: State) -> (Bytes, Option<Bytes>) {
        let cursor = self.cursor();
        let form = if state == State::Behind { state } else { State::UpToDate };
        let after_cr = std::mem::take(&mut self.after_cr) && continues_line_end(shared);
        self.after_cr = shared.kind() == Kind::Text && shared.stored().last() == Some(&b'\r');
        let events = shared_events(shared, form, after_cr, || {
            let current = cursor::interval(clock::now_millis());
            chunk(shared, current, form, after_cr)
        });
        let bytes = content::held(shared, events.bytes);
        if state == form && events.cursor == cursor {
            return (bytes, None);
        }
        let own = control(shared.end, cursor, state);
        (bytes.slice(..events.data), Some(own.into()))
    }
}

/// A chunk as live events.
#[derive(Debug, Clone)]
struct Events {
    bytes: Bytes,
    /// The length of the part that is the same for every reader.
    data: usize,
    /// The cursor in the rest.
    cursor: Cursor,
}

/// A chunk's events, kept with the chunk: for readers who are up to date after it or not, each
/// also for readers who have the CR of a line end that the chunk completes.
#[derive(Debug, Default)]
struct SharedEvents([OnceLock<Events>; 4]);

/// The events of a chunk, encoded by the first reader who needs this form.
fn shared_events(shared: &Chunk, form: State, after_cr: bool, encode: impl FnOnce() -> Events) -> Events {
    let Some(SharedEvents([behind, up_to_date, behind_after_cr, up_to_date_after_cr])) = shared.derived() else {
        return encode();
    };
    let slot = match (form == State::UpToDate, after_cr) {
        (false, false) => behind,
        (true, false) => up_to_date,
        (false, true) => behind_after_cr,
        (true, true) => up_to_date_after_cr,
    };
    slot.get_or_init(encode).clone()
}

fn continues_line_end(chunk: &Chunk) -> bool {
    chunk.kind() == Kind::Text && chunk.stored().first() == Some(&b'\n')
}

/// A data event and the control event that belongs to it. `after_cr`: the text begins with a LF
/// whose CR has been sent.
fn chunk(chunk: &Chunk, cursor: Cursor, state: State, after_cr: bool) -> Events {
    let control = control(chunk.end, cursor, state);
    let mut out = b"event: data\n".to_vec();
    match chunk.kind() {
        Kind::Json => json(&mut out, chunk.stored(), control.len()),
        Kind::Text => {
            let text = chunk.stored();
            lines(
                &mut out,
                text.get(usize::from(after_cr)..).unwrap_or_default(),
                control.len(),
            );
        }
        Kind::Binary => base64(&mut out, chunk.stored(), control.len()),
    }
    out.push(b'\n');
    let data = out.len();
    out.extend_from_slice(control.as_bytes());
    Events {
        bytes: out.into(),
        data,
        cursor,
    }
}

const DATA: &[u8] = b"data:";

/// A line of data. Clients strip one space after the colon, so one that belongs to the line needs
/// another before it.
fn line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(DATA);
    if line.first() == Some(&b' ') {
        out.push(b' ');
    }
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// An array whose elements stand on a line each, as they are stored.
fn json(out: &mut Vec<u8>, stored: &[u8], room_after: usize) {
    let messages = without_last_separator(stored);
    let ends = messages.iter().filter(|byte| **byte == b'\n').count();
    out.reserve_exact(messages.len() + (ends + 3) * (DATA.len() + 2) + room_after);
    line(out, b"[");
    for message in messages.split(|byte| *byte == b'\n') {
        line(out, message);
    }
    line(out, b"]");
}

/// Every kind of line end that the HTML standard knows begins a new `data:` line, so that
/// content can never pass for an event.
fn lines(out: &mut Vec<u8>, text: &[u8], room_after: usize) {
    let ends = text.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    out.reserve_exact(text.len() + (ends + 1) * (DATA.len() + 2) + room_after);
    let mut rest = text;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let (first, after) = rest.split_at(end.unwrap_or(rest.len()));
        line(out, first);
        rest = match after {
            [] => return,
            [b'\r', b'\n', after @ ..] | [_, after @ ..] => after,
        };
    }
}

fn base64(out: &mut Vec<u8>, bytes: &[u8], room_after: usize) {
    let encoded = base64::encoded_len(bytes.len(), true).unwrap_or_default();
    out.reserve_exact(DATA.len() + encoded + 2 + room_after);
    out.extend_from_slice(DATA);
    let start = out.len();
    out.resize(start + encoded, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    // It was made to fit.
    let written = STANDARD.encode_slice(bytes, room).unwrap_or_default();
    out.truncate(start + written);
    out.push(b'\n');
}

/// A control event.
pub(super) fn control(next: Offset, cursor: Cursor, state: State) -> String {
    let mut out = String::with_capacity(128);
    let _ = write!(out, "event: control\ndata:{{\"streamNextOffset\":\"{next}\"");
    let _ = match state {
        State::Behind => write!(out, ",\"streamCursor\":\"{cursor}\""),
        State::UpToDate => write!(out, ",\"streamCursor\":\"{cursor}\",\"upToDate\":true"),
        State::Closed => write!(out, ",\"upToDate\":true,\"streamClosed\":true"),
    };
    out.push_str("}\n\n");
    out
}

/// When to connect again.
pub(super) fn retry(after: Duration) -> String {
    format!("retry: {}\n\n", after.as_millis())
}

/// The first bytes to a reader who has everything.
pub(super) fn opening(retry: String, next: Offset, cursor: Cursor, state: State) -> Bytes {
    let mut out = retry;
    out.push_str(&control(next, cursor, state));
    out.into()
}

#[cfg(test)]
mod tests;
