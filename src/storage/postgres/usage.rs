//! The contents of the store: what the database says from time to time, and this server's commits since.
//! Commits of other servers count with a delay.

use parking_lot::Mutex;

use crate::storage::Usage;

#[derive(Default)]
pub(super) struct UsageCount(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    streams: i64,
    bytes: i64,
    /// The growth by each of this server's commits that may not be counted yet, with their numbers.
    own: Vec<(i64, i64, i64)>,
}

impl UsageCount {
    /// This server's commit `n` has changed the store.
    pub(super) fn committed(&self, n: i64, streams: i64, bytes: i64) {
        let mut counted = self.0.lock();
        counted.streams += streams;
        counted.bytes += bytes;
        counted.own.push((n, streams, bytes));
    }

    /// The database has counted, including this server's commits up to `n`.
    pub(super) fn counted(&self, streams: i64, bytes: i64, n: i64) {
        let mut counted = self.0.lock();
        counted.own.retain(|(own, ..)| *own > n);
        counted.streams = streams + counted.own.iter().map(|(_, streams, _)| streams).sum::<i64>();
        counted.bytes = bytes + counted.own.iter().map(|(.., bytes)| bytes).sum::<i64>();
    }

    /// Another lane begins.
    pub(super) fn reset(&self) {
        self.0.lock().own.clear();
    }

    pub(super) fn usage(&self) -> Usage {
        let counted = self.0.lock();
        let count = |number: i64| u64::try_from(number).unwrap_or(0);
        Usage {
            streams: count(counted.streams),
            bytes: count(counted.bytes),
        }
    }
}
