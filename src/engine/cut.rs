//! Where a stream's past can be cut off: between messages, between appends, or, of text that an
//! earlier version stored, between characters.

use super::{load::stored, text};
use crate::{
    protocol::{
        Framing, Kind,
        frame::{self, Header},
        json,
    },
    storage::{Position, Storage, StorageError, StreamRecord},
};

/// How much is read at a time.
const WINDOW: u64 = 64 * 1024;
/// How much of a stream of small appends is walked through at once: the committer waits for it.
/// The next time goes on from there.
const MAX_WALK: u64 = 16 * 1024 * 1024;

/// The first place at or after `wanted` where a stream can be cut, at most `limit`, which is one.
/// It may be one before `wanted` where that is far away.
pub(super) fn boundary(
    storage: &dyn Storage,
    record: &StreamRecord,
    kind: Kind,
    wanted: Position,
    limit: Position,
) -> Result<Position, StorageError> {
    if wanted <= record.earliest() || wanted >= limit {
        return Ok(wanted);
    }
    if record.framing.is_framed() {
        return append_end(storage, record, wanted, limit);
    }
    if kind == Kind::Binary {
        return Ok(wanted);
    }
    // The byte before tells whether a message begins right here.
    let from = wanted - 1;
    let mut len = WINDOW;
    loop {
        let end = limit.min(from + len);
        let bytes = stored(storage, record, from, end)?;
        let found = match kind {
            Kind::Json => json::end_of(1, &bytes).ok(),
            Kind::Text | Kind::Binary => text::next_character(&bytes, 1),
        };
        match found {
            Some(at) => return Ok(from + at as u64),
            None if end == limit => return Ok(limit),
            None => len *= 2,
        }
    }
}

/// Goes from append to append, from the earliest.
fn append_end(
    storage: &dyn Storage,
    record: &StreamRecord,
    wanted: Position,
    limit: Position,
) -> Result<Position, StorageError> {
    let mut at = record.earliest();
    let mut walked = 0;
    while at < wanted && walked < MAX_WALK {
        let bytes = stored(storage, record, at, limit.min(at + WINDOW))?;
        walked += bytes.len() as u64;
        let (next, found) = walk(&bytes, record.framing, at, wanted);
        if found {
            return Ok(next.min(limit));
        }
        if next == at || next > limit {
            let what = format!("stream {} has no append at {at}", record.id);
            return Err(StorageError::Corrupt(what));
        }
        at = next;
    }
    Ok(at)
}

/// Where the last append ends that begins in `bytes`, which begin at `at`; or the first that ends
/// at or after `wanted`, and that it is one.
fn walk(bytes: &[u8], framing: Framing, at: Position, wanted: Position) -> (Position, bool) {
    let mut frames = frame::frames(bytes, framing);
    while frames.next().is_some() {
        let end = at + frames.at() as u64;
        if end >= wanted {
            return (end, true);
        }
    }
    let end = at + frames.at() as u64;
    match frames.next_header() {
        Header::Whole { size, len } => {
            let end = end + size as u64 + len;
            (end, end >= wanted)
        }
        Header::Cut | Header::None => (end, false),
    }
}
