//! Places where retention can trim a stream: between messages, between appends, or, of text whose
//! appends are not kept apart, between characters.

use super::{load::read_range, text};
use crate::{
    protocol::{
        Framing, Kind,
        frame::{self, Header},
        json,
    },
    storage::{Position, Storage, StorageError, StreamRecord},
};

/// Bytes read at a time.
const WINDOW: u64 = 64 * 1024;
/// Bytes of small appends walked through in one call, because the committer waits. The next call
/// goes on from there.
const MAX_WALK: u64 = 16 * 1024 * 1024;

/// The first boundary in `wanted..=limit` (`limit` is one), or an earlier one where `wanted` is more
/// than [`MAX_WALK`] away.
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
    // The byte before tells whether a message begins at `wanted`.
    let from = wanted - 1;
    let mut len = WINDOW;
    loop {
        let end = limit.min(from + len);
        let bytes = read_range(storage, record, from, end)?;
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

/// Walks from append to append, from the earliest.
fn append_end(
    storage: &dyn Storage,
    record: &StreamRecord,
    wanted: Position,
    limit: Position,
) -> Result<Position, StorageError> {
    let mut at = record.earliest();
    let mut walked = 0;
    while at < wanted && walked < MAX_WALK {
        let bytes = read_range(storage, record, at, limit.min(at + WINDOW))?;
        walked += bytes.len() as u64;
        let Walk { end: next, found } = walk(&bytes, record.framing, at, wanted);
        if found {
            return Ok(next.min(limit));
        }
        if next == at || next > limit {
            let what = format!("stream {} has no append at position {at}", record.id);
            return Err(StorageError::Corrupt(what));
        }
        at = next;
    }
    Ok(at)
}

/// How far a walk came.
struct Walk {
    end: Position,
    /// The end is at or after the wanted position.
    found: bool,
}

/// The end of the first append in `bytes`, which begin at `at`, that ends at or after `wanted`, or
/// else of the last one.
fn walk(bytes: &[u8], framing: Framing, at: Position, wanted: Position) -> Walk {
    let mut frames = frame::frames(bytes, framing);
    while frames.next().is_some() {
        let end = at + frames.at() as u64;
        if end >= wanted {
            return Walk { end, found: true };
        }
    }
    let end = at + frames.at() as u64;
    match frames.next_header() {
        Header::Whole { size, len } => {
            let end = end + size as u64 + len;
            Walk {
                end,
                found: end >= wanted,
            }
        }
        Header::Cut | Header::None => Walk { end, found: false },
    }
}
