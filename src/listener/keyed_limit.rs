//! A limit that holds for each key on its own: a client address, a principal.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;

/// Like a semaphore per key. A key without permits is forgotten, so that the table never holds
/// more keys than there are permits.
#[derive(Debug)]
pub struct KeyedLimit {
    limit: usize,
    counts: Mutex<HashMap<u64, usize>>,
}

/// Permits of one key, returned on drop. The default holds none.
#[derive(Debug, Default)]
pub struct KeyedPermit(Option<Held>);

#[derive(Debug)]
struct Held {
    limit: Arc<KeyedLimit>,
    key: u64,
    count: usize,
}

impl KeyedLimit {
    /// At most `limit` permits for each key; `usize::MAX` counts nothing.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            counts: Mutex::default(),
        })
    }

    /// One permit; `None` at the limit.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>, key: u64) -> Option<KeyedPermit> {
        self.try_acquire_many(key, 1)
    }

    /// `permits` at once, or none of them.
    #[must_use]
    pub fn try_acquire_many(self: &Arc<Self>, key: u64, permits: usize) -> Option<KeyedPermit> {
        if self.limit == usize::MAX {
            return Some(KeyedPermit::default());
        }
        let mut counts = self.counts.lock();
        let held = counts.get(&key).copied().unwrap_or(0);
        let count = held.checked_add(permits).filter(|count| *count <= self.limit)?;
        counts.insert(key, count);
        Some(KeyedPermit(Some(Held {
            limit: Arc::clone(self),
            key,
            count: permits,
        })))
    }

    #[cfg(test)]
    pub(crate) fn keys(&self) -> usize {
        self.counts.lock().len()
    }
}

impl Drop for KeyedPermit {
    fn drop(&mut self) {
        let Some(held) = self.0.take() else { return };
        let mut counts = held.limit.counts.lock();
        if let Entry::Occupied(mut count) = counts.entry(held.key) {
            *count.get_mut() -= held.count;
            if *count.get() == 0 {
                count.remove();
            }
        }
        // Give the memory of a past peak back.
        if counts.len() < counts.capacity() / 8 {
            counts.shrink_to(128);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_limited_and_forgotten_without_permits() {
        let limit = KeyedLimit::new(2);
        let held = [limit.try_acquire(1), limit.try_acquire(1), limit.try_acquire(2)];
        assert!(held.iter().all(Option::is_some));
        assert!(limit.try_acquire(1).is_none());
        assert_eq!(limit.keys(), 2);
        drop(held);
        assert_eq!(limit.keys(), 0);
        assert!(limit.try_acquire(1).is_some());
    }

    #[test]
    fn a_refused_request_leaves_no_trace() {
        let limit = KeyedLimit::new(10);
        assert!(limit.try_acquire_many(1, 11).is_none());
        assert_eq!(limit.keys(), 0);
        let held = limit.try_acquire_many(1, 8);
        assert!(limit.try_acquire_many(1, 3).is_none() && limit.try_acquire_many(1, usize::MAX).is_none());
        assert!(limit.try_acquire_many(1, 2).is_some());
        drop(held);
        assert!(limit.try_acquire_many(1, 10).is_some());
    }

    #[test]
    fn an_unlimited_limit_counts_nothing() {
        let limit = KeyedLimit::new(usize::MAX);
        let _held: Vec<_> = (0..100).map(|key| limit.try_acquire(key)).collect();
        assert_eq!(limit.keys(), 0);
    }
}
