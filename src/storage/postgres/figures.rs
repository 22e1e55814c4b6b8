//! Figures for the metrics.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::storage::{Durations, StoreFigures};

/// A number that grows.
#[derive(Debug, Default)]
pub(super) struct Figure(AtomicU64);

impl Figure {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper bounds of durations, in microseconds.
const BOUNDS: [u64; 12] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_500_000,
];

/// How long something took, each time.
#[derive(Debug, Default)]
pub(super) struct Timing {
    /// By the lowest bound that a duration does not exceed.
    counts: [Figure; BOUNDS.len()],
    longer: Figure,
    micros: Figure,
}

impl Timing {
    pub(super) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < micros);
        self.counts.get(place).unwrap_or(&self.longer).add(1);
        self.micros.add(micros);
    }

    fn durations(&self) -> Durations {
        let mut count = 0;
        let buckets = BOUNDS.iter().zip(&self.counts).map(|(bound, figure)| {
            count += figure.get();
            (Duration::from_micros(*bound), count)
        });
        let buckets = buckets.collect();
        Durations {
            buckets,
            count: count + self.longer.get(),
            sum: Duration::from_micros(self.micros.get()),
        }
    }
}

/// The counts since the start.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) reads: Figure,
    pub(super) commits: Figure,
    pub(super) committed_groups: Figure,
    pub(super) moved_groups: Figure,
    pub(super) lost_answers: Figure,
    pub(super) notifications_sent: Figure,
    pub(super) notifications_received: Figure,
    pub(super) log_reads: Figure,
    /// Commits of other servers that were read in the log, before a notification told of them.
    pub(super) log_rows: Figure,
    pub(super) read_time: Timing,
    pub(super) commit_time: Timing,
    /// When every change of other servers was known.
    pub(super) caught_up_at: Mutex<Option<Instant>>,
    /// Whether notifications arrive.
    pub(super) hears: AtomicBool,
}

impl Figures {
    pub(super) fn at(&self, now: Instant) -> StoreFigures {
        let named = [
            ("read", &self.reads),
            ("commit", &self.commits),
            ("committed_group", &self.committed_groups),
            ("moved_group", &self.moved_groups),
            ("lost_answer", &self.lost_answers),
            ("notification_sent", &self.notifications_sent),
            ("notification_received", &self.notifications_received),
            ("log_read", &self.log_reads),
            ("log_row", &self.log_rows),
        ];
        let caught_up_at = *self.caught_up_at.lock();
        StoreFigures {
            events: named.iter().map(|(name, figure)| (*name, figure.get())).collect(),
            round_trips: vec![
                ("read", self.read_time.durations()),
                ("commit", self.commit_time.durations()),
            ],
            lag: caught_up_at.map(|at| now.saturating_duration_since(at)),
            hears_notifications: self.hears.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_count_in_each_bucket_that_they_fit() {
        let timing = Timing::default();
        for micros in [1, 100, 101, 2_500_000, 2_500_001] {
            timing.add(Duration::from_micros(micros));
        }
        let durations = timing.durations();
        let counts: Vec<u64> = durations.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4]);
        assert_eq!((durations.count, durations.sum), (5, Duration::from_micros(5_000_203)));
    }
}
