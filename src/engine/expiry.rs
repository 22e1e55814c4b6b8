//! Lifetimes, as functions of a stream's record.

use crate::{
    protocol::{Lifetime, Millis},
    storage::StreamRecord,
};

/// A sliding lifetime is stored again once it has moved by this part of itself.
const FLUSH_FRACTION: u64 = 8;
const MIN_FLUSH_INTERVAL: Millis = 1_000;

/// How lifetimes are judged.
///
/// A store with one holder knows every use, because it has them in memory. In a shared store, a use
/// through one server is known to the others once it is stored. It need not be stored while it is
/// less than an eighth of the lifetime after the stored one, and is stored before it is answered
/// otherwise. So a stream whose stored use is older than its lifetime and an eighth of it was not
/// used within its lifetime, through any server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lifetimes {
    shared: bool,
}

impl Lifetimes {
    /// Those of a store that other servers use as well.
    pub(super) fn shared() -> Self {
        Self { shared: true }
    }

    pub(super) fn are_shared(self) -> bool {
        self.shared
    }

    /// When a stream of this lifetime ends, last used at `touched_at`.
    pub(super) fn deadline(self, lifetime: Lifetime, touched_at: Millis) -> Option<Millis> {
        match lifetime {
            Lifetime::Unlimited => None,
            Lifetime::Ttl(secs) => {
                let millis = secs.saturating_mul(1000);
                let unknown = if self.shared { millis / FLUSH_FRACTION } else { 0 };
                Some(touched_at.saturating_add(millis).saturating_add(unknown))
            }
            Lifetime::ExpiresAt(at) => Some(at),
        }
    }

    /// When the sweeper must look at a stream, for its lifetime or its retention.
    pub(super) fn due_at(self, record: &StreamRecord) -> Option<Millis> {
        let deadline = self.deadline(record.lifetime, record.touched_at);
        let retention = record.retention.as_ref().and_then(|retention| retention.due_at);
        deadline.into_iter().chain(retention).min()
    }

    /// Whether a use at `touched_at` must be stored for a sliding lifetime.
    pub(super) fn needs_flush(self, record: &StreamRecord, touched_at: Millis) -> bool {
        let Lifetime::Ttl(secs) = record.lifetime else {
            return false;
        };
        let interval = secs.saturating_mul(1000) / FLUSH_FRACTION;
        let shortest = if self.shared { 1 } else { MIN_FLUSH_INTERVAL };
        touched_at.saturating_sub(record.touched_at) >= interval.max(shortest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Retention, contract::record};

    const OWN: Lifetimes = Lifetimes { shared: false };
    const SHARED: Lifetimes = Lifetimes { shared: true };

    fn living(lifetime: Lifetime) -> StreamRecord {
        StreamRecord {
            lifetime,
            touched_at: 100_000,
            ..record(1)
        }
    }

    #[test]
    fn a_sliding_lifetime_is_stored_again_after_an_eighth_of_itself() {
        let record = living(Lifetime::Ttl(80));
        assert!(!OWN.needs_flush(&record, 109_999));
        assert!(OWN.needs_flush(&record, 110_000));
        // A short lifetime, at most once a second.
        assert!(!OWN.needs_flush(&living(Lifetime::Ttl(1)), 100_999));
        assert!(OWN.needs_flush(&living(Lifetime::Ttl(1)), 101_000));
        // A use from before the clock went back.
        assert!(!OWN.needs_flush(&record, 5));
        for fixed in [Lifetime::Unlimited, Lifetime::ExpiresAt(7)] {
            assert!(!OWN.needs_flush(&living(fixed), u64::MAX));
        }
    }

    #[test]
    fn a_stream_is_due_for_whichever_comes_first() {
        let mut record = living(Lifetime::Ttl(10));
        assert_eq!(OWN.due_at(&record), Some(110_000));
        record.retention = Some(Box::new(Retention {
            due_at: Some(105_000),
            ..Retention::default()
        }));
        assert_eq!(OWN.due_at(&record), Some(105_000));
        record.lifetime = Lifetime::ExpiresAt(7);
        assert_eq!(OWN.due_at(&record), Some(7));
        record.lifetime = Lifetime::Unlimited;
        record.retention = None;
        assert_eq!(OWN.due_at(&record), None);
    }

    #[test]
    fn a_lifetime_without_end_does_not_overflow() {
        assert_eq!(OWN.deadline(Lifetime::Ttl(u64::MAX), 5), Some(u64::MAX));
    }

    #[test]
    fn a_shared_stream_outlives_every_use_that_need_not_be_stored() {
        let record = living(Lifetime::Ttl(80));
        // The last use that another server may keep to itself.
        let unknown = 109_999;
        assert!(!SHARED.needs_flush(&record, unknown) && SHARED.needs_flush(&record, unknown + 1));
        let alive_until = unknown + 80_000;
        assert!(SHARED.deadline(record.lifetime, record.touched_at) > Some(alive_until));
        // Short lifetimes are stored as often.
        assert!(SHARED.needs_flush(&living(Lifetime::Ttl(1)), 100_125));
        assert_eq!(SHARED.deadline(Lifetime::Ttl(1), 100_000), Some(101_125));
        assert_eq!(SHARED.deadline(Lifetime::ExpiresAt(7), 100_000), Some(7));
    }
}
