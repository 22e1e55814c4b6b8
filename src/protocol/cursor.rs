//! Cursors, which keep caches from answering a live read with the same response for ever
//! (section 10.1).

use crate::clock::{self, Millis};

/// Thursday, 9 October 2024, 00:00:00 UTC.
const EPOCH_MILLIS: Millis = 1_728_432_000_000;
const INTERVAL_MILLIS: Millis = 20_000;
const MAX_JITTER: u64 = 3_600;

/// The number of the interval that holds `now`.
#[must_use]
pub fn interval(now: Millis) -> u64 {
    now.saturating_sub(EPOCH_MILLIS) / INTERVAL_MILLIS
}

/// The cursor for an answer to a client that sent `client` (its `cursor` parameter): the
/// current interval, or something above the client's where that is not behind.
#[must_use]
pub fn next(now: Millis, client: Option<u64>) -> u64 {
    let current = interval(now);
    match client {
        Some(client) if client >= current => client.saturating_add(clock::random_between(1, MAX_JITTER)),
        _ => current,
    }
}

/// Reads a `cursor` parameter. One that no server gave out is as good as none.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests;
