//! Events as text (section 5.8 and the HTML standard, server-sent events).

use std::{fmt::Write, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use crate::{
    clock,
    engine::{Chunk, Events},
    protocol::{Kind, Offset, cursor},
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

/// The cursor of one connection.
#[derive(Debug)]
pub(super) struct Cursor {
    /// At or above the client's, where the client's is not behind the current one.
    own: Option<u64>,
}

impl Cursor {
    /// For a client that sent `client`, if it sent one.
    pub(super) fn new(client: Option<u64>) -> Self {
        let now = clock::now_millis();
        Self {
            own: client
                .filter(|client| *client >= cursor::interval(now))
                .map(|client| cursor::next(now, Some(client))),
        }
    }

    pub(super) fn value(&self) -> u64 {
        self.at(cursor::interval(clock::now_millis()))
    }

    fn at(&self, current: u64) -> u64 {
        self.own.map_or(current, |own| own.max(current))
    }

    /// A chunk as events: what all readers share is made once, and what is this reader's alone
    /// follows behind it. Clients that come back have a cursor of their own, so a busy stream
    /// soon has no others.
    pub(super) fn encode(&self, shared: &Chunk, state: State) -> (Bytes, Option<Bytes>) {
        let current = cursor::interval(clock::now_millis());
        let form = if state == State::Behind { state } else { State::UpToDate };
        let events = shared.events(form == State::UpToDate, || chunk(shared, current, form));
        let cursor = self.at(current);
        if state == form && events.cursor == cursor {
            return (events.bytes.clone(), None);
        }
        let own = control(shared.end, cursor, state);
        (events.bytes.slice(..events.data), Some(own.into()))
    }
}

/// A data event and the control event that belongs to it.
fn chunk(chunk: &Chunk, cursor: u64, state: State) -> Events {
    let stored = chunk.stored();
    let mut out = Vec::with_capacity(stored.len() * 3 / 2 + 256);
    out.extend_from_slice(b"event: data\n");
    match chunk.kind() {
        Kind::Json => json(&mut out, stored),
        Kind::Text => lines(&mut out, stored),
        Kind::Binary => {
            out.extend_from_slice(b"data:");
            out.extend_from_slice(STANDARD.encode(stored).as_bytes());
            out.push(b'\n');
        }
    }
    out.push(b'\n');
    let data = out.len();
    out.extend_from_slice(control(chunk.end, cursor, state).as_bytes());
    Events {
        bytes: out.into(),
        data,
        cursor,
    }
}

/// An array whose elements stand on a line each, as they are stored.
fn json(out: &mut Vec<u8>, stored: &[u8]) {
    out.extend_from_slice(b"data:[\n");
    let messages = stored.strip_suffix(b",\n").unwrap_or(stored);
    for message in messages.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data:");
        out.extend_from_slice(message);
        out.push(b'\n');
    }
    out.extend_from_slice(b"data:]\n");
}

/// Every kind of line end that the standard knows begins a new `data:` line, so that content
/// can never pass for an event.
fn lines(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(b"data:");
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                out.extend_from_slice(b"\ndata:");
            }
            b'\n' => out.extend_from_slice(b"\ndata:"),
            byte => out.push(byte),
        }
    }
    out.push(b'\n');
}

/// A control event.
pub(super) fn control(next: Offset, cursor: u64, state: State) -> String {
    let mut out = String::with_capacity(128);
    let _ = write!(out, "event: control\ndata:{{\"streamNextOffset\":\"{}\"", next);
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
pub(super) fn opening(retry: String, next: Offset, cursor: u64, state: State) -> Bytes {
    let mut out = retry;
    out.push_str(&control(next, cursor, state));
    out.into()
}

#[cfg(test)]
mod tests;
