//! Events as text (section 5.8, and server-sent events in the HTML standard).

use std::{
    fmt::Write,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use crate::{
    engine::Chunk,
    http::content,
    protocol::{
        Kind, Millis, Offset,
        cursor::{self, Cursor},
        json::without_last_separator,
    },
    random::Random,
};

/// A comment, so that proxies do not close a quiet stream.
pub(super) const HEARTBEAT: &[u8] = b": \n\n";

/// How far a reader is after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// The stream has more.
    Behind,
    /// The reader has everything.
    UpToDate,
    /// The reader has everything, and the stream is closed.
    Closed,
}

/// A chunk as events.
pub(super) struct Encoded {
    /// The bytes that readers share.
    pub(super) shared: Bytes,
    /// A control event for this connection alone, to be sent after them.
    pub(super) own_control: Option<Bytes>,
}

/// The state of one connection that its next event depends on.
#[derive(Debug)]
pub(super) struct Connection {
    /// The lowest cursor that may follow.
    least: Cursor,
    /// The last byte of text was a CR. An LF after it belongs to the same line end.
    after_cr: bool,
}

impl Connection {
    /// For a client that sent the cursor `client`, if any.
    pub(super) fn new(client: Option<Cursor>, now: Millis, random: &Random) -> Self {
        let ahead = client.filter(|client| *client >= cursor::interval(now));
        Self {
            least: ahead.map_or(0, |client| {
                cursor::next(now, Some(client), |low, high| random.between(low, high))
            }),
            after_cr: false,
        }
    }

    /// The cursor to send now. It does not go back with the clock.
    pub(super) fn cursor(&mut self, now: Millis) -> Cursor {
        self.least = self.least.max(cursor::interval(now));
        self.least
    }

    /// A chunk as events. The text is encoded once and shared by all readers. Only a connection
    /// whose cursor is ahead, or whose stream has just been closed, gets a control event of its own.
    pub(super) fn encode(&mut self, chunk: &Arc<Chunk>, progress: Progress, now: Millis) -> Encoded {
        let cursor = self.cursor(now);
        let form = match progress {
            Progress::Behind => Progress::Behind,
            Progress::UpToDate | Progress::Closed => Progress::UpToDate,
        };
        let after_cr = std::mem::take(&mut self.after_cr) && continues_line_end(chunk);
        self.after_cr = chunk.kind() == Kind::Text && chunk.stored().last() == Some(&b'\r');
        let events = shared_events(chunk, form, after_cr, || {
            events(chunk, cursor::interval(now), form, after_cr)
        });
        let bytes = content::keeping(chunk, events.bytes);
        if progress == form && events.cursor == cursor {
            return Encoded {
                shared: bytes,
                own_control: None,
            };
        }
        Encoded {
            shared: bytes.slice(..events.data),
            own_control: Some(control(chunk.end, cursor, progress).into()),
        }
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
fn shared_events(shared: &Chunk, form: Progress, after_cr: bool, encode: impl FnOnce() -> Events) -> Events {
    let Some(SharedEvents([behind, up_to_date, behind_after_cr, up_to_date_after_cr])) = shared.derived() else {
        return encode();
    };
    let slot = match (form == Progress::UpToDate, after_cr) {
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

/// A data event and its control event. With `after_cr` the text begins with an LF whose CR has
/// been sent.
fn events(chunk: &Chunk, cursor: Cursor, progress: Progress, after_cr: bool) -> Events {
    let control = control(chunk.end, cursor, progress);
    let mut out = b"event: data\n".to_vec();
    match chunk.kind() {
        Kind::Json => json(&mut out, chunk.stored(), control.len()),
        Kind::Text => {
            let text = chunk.stored().get(usize::from(after_cr)..);
            lines(&mut out, text.unwrap_or_default(), control.len());
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

/// A line of data. Clients strip one space after the colon, so a line that begins with a space
/// gets another one.
fn line(out: &mut Vec<u8>, line: &[u8]) {
    out.extend_from_slice(DATA);
    if line.first() == Some(&b' ') {
        out.push(b' ');
    }
    out.extend_from_slice(line);
    out.push(b'\n');
}

/// An array with one message on each line, as they are stored.
fn json(out: &mut Vec<u8>, stored: &[u8], extra: usize) {
    let messages = without_last_separator(stored);
    let ends = messages.iter().filter(|byte| **byte == b'\n').count();
    out.reserve_exact(messages.len() + (ends + 3) * (DATA.len() + 2) + extra);
    line(out, b"[");
    for message in messages.split(|byte| *byte == b'\n') {
        line(out, message);
    }
    line(out, b"]");
}

/// Every line end of the HTML standard begins a new `data:` line, so that content can never pass
/// for an event.
fn lines(out: &mut Vec<u8>, text: &[u8], extra: usize) {
    let ends = text.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    out.reserve_exact(text.len() + (ends + 1) * (DATA.len() + 2) + extra);
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

fn base64(out: &mut Vec<u8>, bytes: &[u8], extra: usize) {
    let encoded = base64::encoded_len(bytes.len(), true).unwrap_or_default();
    out.reserve_exact(DATA.len() + encoded + 2 + extra);
    out.extend_from_slice(DATA);
    let start = out.len();
    out.resize(start + encoded, 0);
    let target = out.get_mut(start..).unwrap_or_default();
    // The target has the encoded length.
    let written = STANDARD.encode_slice(bytes, target).unwrap_or_default();
    out.truncate(start + written);
    out.push(b'\n');
}

/// A control event.
pub(super) fn control(next: Offset, cursor: Cursor, progress: Progress) -> String {
    let mut out = String::with_capacity(128);
    let _ = write!(out, "event: control\ndata:{{\"streamNextOffset\":\"{next}\"");
    let _ = match progress {
        Progress::Behind => write!(out, ",\"streamCursor\":\"{cursor}\""),
        Progress::UpToDate => write!(out, ",\"streamCursor\":\"{cursor}\",\"upToDate\":true"),
        Progress::Closed => write!(out, ",\"upToDate\":true,\"streamClosed\":true"),
    };
    out.push_str("}\n\n");
    out
}

/// The delay before a client reconnects.
pub(super) fn retry(after: Duration) -> String {
    format!("retry: {}\n\n", after.as_millis())
}

#[cfg(test)]
mod tests;
