//! A limit on the bytes that are in use at once.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A request beyond the limit is refused at once; none waits for room.
#[derive(Debug)]
pub(super) struct ByteLimit {
    limit: usize,
    used: AtomicUsize,
}

/// Bytes in use, until they are dropped.
#[derive(Debug)]
pub(super) struct ChargedBytes<'l> {
    limit: &'l ByteLimit,
    bytes: usize,
}

impl ByteLimit {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            used: AtomicUsize::new(0),
        }
    }

    /// No bytes yet.
    pub(super) fn charge(&self) -> ChargedBytes<'_> {
        ChargedBytes { limit: self, bytes: 0 }
    }
}

impl ChargedBytes<'_> {
    /// Adds bytes, if there is room for them.
    pub(super) fn try_add(&mut self, bytes: usize) -> Option<()> {
        let ByteLimit { limit, used } = self.limit;
        let within_limit = |used: usize| used.checked_add(bytes).filter(|used| used <= limit);
        used.fetch_update(Relaxed, Relaxed, within_limit).ok()?;
        self.bytes += bytes;
        Some(())
    }
}

impl Drop for ChargedBytes<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.limit.used.fetch_sub(self.bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bytes_together_stay_within_the_limit_and_are_given_back() {
        let limit = ByteLimit::new(100);
        let (mut one, mut other) = (limit.charge(), limit.charge());
        assert!(one.try_add(40).is_some() && one.try_add(20).is_some());
        assert!(other.try_add(41).is_none() && other.try_add(usize::MAX).is_none());
        assert!(other.try_add(40).is_some());
        drop(one);
        assert!(other.try_add(61).is_none() && other.try_add(60).is_some());
    }
}
