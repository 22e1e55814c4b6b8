//! Cursors, which keep caches from answering every live read with the same response
//! (section 10.1).

use crate::protocol::Millis;

/// Wednesday, 9 October 2024, 00:00:00 UTC.
const EPOCH_MILLIS: Millis = 1_728_432_000_000;
const INTERVAL_SECS: u64 = 20;
/// A client's cursor is exceeded by up to an hour's worth of intervals.
const MAX_JITTER: u64 = 3_600 / INTERVAL_SECS;
/// A longer number is not a cursor. Adding to one of this length cannot overflow.
const MAX_DIGITS: usize = 36;

/// The number of an interval. Wide enough to exceed any number that a client may send.
pub type Cursor = u128;

/// The number of the interval that contains `now`.
#[must_use]
pub fn interval(now: Millis) -> Cursor {
    (now.saturating_sub(EPOCH_MILLIS) / (INTERVAL_SECS * 1000)).into()
}

/// The cursor for a response to a client that sent `client` (its `cursor` parameter): the
/// current interval where that is greater than the client's, else a random number of intervals
/// after the client's. `between(low, high)` draws that number.
#[must_use]
pub fn next(now: Millis, client: Option<Cursor>, between: impl FnOnce(u64, u64) -> u64) -> Cursor {
    let current = interval(now);
    match client {
        Some(client) if client >= current => client.saturating_add(between(1, MAX_JITTER).into()),
        _ => current,
    }
}

/// Reads a `cursor` parameter. A malformed one is ignored.
#[must_use]
pub fn parse(text: &str) -> Option<Cursor> {
    let is_number = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
