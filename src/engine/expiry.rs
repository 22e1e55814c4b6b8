//! Lifetimes, as functions of a stream's record.

use crate::{
    protocol::{Lifetime, Millis},
    storage::StreamRecord,
};

/// A sliding lifetime is stored again once it has moved by this part of itself.
const FLUSH_FRACTION: u64 = 8;
const MIN_FLUSH_INTERVAL: Millis = 1_000;

/// When a stream of this lifetime ends, last used at `touched_at`.
pub(super) fn deadline(lifetime: Lifetime, touched_at: Millis) -> Option<Millis> {
    match lifetime {
        Lifetime::Unlimited => None,
        Lifetime::Ttl(secs) => Some(touched_at.saturating_add(secs.saturating_mul(1000))),
        Lifetime::ExpiresAt(at) => Some(at),
    }
}

/// When the sweeper must look at a stream, for its lifetime or its retention.
pub(super) fn due_at(record: &StreamRecord) -> Option<Millis> {
    let deadline = deadline(record.lifetime, record.touched_at);
    let retention = record.retention.as_ref().and_then(|retention| retention.due_at);
    deadline.into_iter().chain(retention).min()
}

/// Whether a use at `touched_at` must be stored for a sliding lifetime.
pub(super) fn needs_flush(record: &StreamRecord, touched_at: Millis) -> bool {
    let Lifetime::Ttl(secs) = record.lifetime else {
        return false;
    };
    let interval = (secs.saturating_mul(1000) / FLUSH_FRACTION).max(MIN_FLUSH_INTERVAL);
    touched_at.saturating_sub(record.touched_at) >= interval
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Retention, contract::record};

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
        assert!(!needs_flush(&record, 109_999));
        assert!(needs_flush(&record, 110_000));
        // A short lifetime, at most once a second.
        assert!(!needs_flush(&living(Lifetime::Ttl(1)), 100_999));
        assert!(needs_flush(&living(Lifetime::Ttl(1)), 101_000));
        // A use from before the clock went back.
        assert!(!needs_flush(&record, 5));
        for fixed in [Lifetime::Unlimited, Lifetime::ExpiresAt(7)] {
            assert!(!needs_flush(&living(fixed), u64::MAX));
        }
    }

    #[test]
    fn a_stream_is_due_for_whichever_comes_first() {
        let mut record = living(Lifetime::Ttl(10));
        assert_eq!(due_at(&record), Some(110_000));
        record.retention = Some(Box::new(Retention {
            due_at: Some(105_000),
            ..Retention::default()
        }));
        assert_eq!(due_at(&record), Some(105_000));
        record.lifetime = Lifetime::ExpiresAt(7);
        assert_eq!(due_at(&record), Some(7));
        record.lifetime = Lifetime::Unlimited;
        record.retention = None;
        assert_eq!(due_at(&record), None);
    }

    #[test]
    fn a_lifetime_without_end_does_not_overflow() {
        assert_eq!(deadline(Lifetime::Ttl(u64::MAX), 5), Some(u64::MAX));
    }
}
