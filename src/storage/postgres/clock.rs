//! The database's clock, by which all servers judge lifetimes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::clock::{Clock, Offset};

/// An older measurement gives way to a worse one.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Learns the offset of the database's clock from the answers to statements (Cristian's method). The true
/// offset lies within half a round trip, so the shortest round trip of the last minute counts.
pub(super) struct StoreClock {
    local: Clock,
    offset: Arc<Offset>,
    best: Mutex<Option<Measurement>>,
    /// Measurements that began earlier were of another machine's clock.
    valid_from: Mutex<Option<Instant>>,
}

#[derive(Clone, Copy)]
struct Measurement {
    round_trip: Duration,
    at: Instant,
}

impl StoreClock {
    pub(super) fn new(local: Clock) -> Self {
        Self {
            local,
            offset: Arc::default(),
            best: Mutex::default(),
            valid_from: Mutex::default(),
        }
    }

    /// The database is on another machine now: the next measurement counts, however slow.
    pub(super) fn restart(&self) {
        *self.valid_from.lock() = Some(self.local.instant());
        *self.best.lock() = None;
    }

    /// This machine's clock.
    pub(super) fn local(&self) -> &Clock {
        &self.local
    }

    /// The database's clock.
    pub(super) fn clock(&self) -> Clock {
        self.local.with_offset(Arc::clone(&self.offset))
    }

    /// The database told its time, in microseconds, between two moments.
    pub(super) fn note(&self, micros: i64, sent: Instant, received: Instant) {
        if self.valid_from.lock().is_some_and(|valid_from| sent < valid_from) {
            return;
        }
        let round_trip = received.saturating_duration_since(sent);
        let mut best = self.best.lock();
        let is_better = best
            .is_none_or(|best| round_trip <= best.round_trip || received.saturating_duration_since(best.at) > MAX_AGE);
        if !is_better {
            return;
        }
        *best = Some(Measurement {
            round_trip,
            at: received,
        });
        let local = i64::try_from(self.local.micros()).unwrap_or(i64::MAX);
        let half = i64::try_from(round_trip.as_micros() / 2).unwrap_or(0);
        self.offset.set(micros.saturating_add(half).saturating_sub(local));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_round_trip_counts_until_it_is_old() {
        let local = Clock::manual(1_000_000);
        let store = StoreClock::new(local.clone());
        let clock = store.clock();
        let ask = |millis: i64, round_trip: u64| {
            let sent = local.instant();
            local.advance(Duration::from_millis(round_trip));
            store.note(millis * 1000, sent, local.instant());
        };
        // An hour ahead, told half way through 10 ms.
        ask(1_000_005 + 3_600_000, 10);
        assert_eq!(clock.millis(), local.millis() + 3_600_000);
        // A slower answer counts for less, however wrong.
        ask(5, 100);
        assert_eq!(clock.millis(), local.millis() + 3_600_000);
        local.advance(MAX_AGE * 2);
        ask(i64::try_from(local.millis()).unwrap() + 50 - 7000, 100);
        assert_eq!(clock.millis(), local.millis() - 7000);
    }

    #[test]
    fn after_a_failover_the_clock_of_the_new_primary_counts_at_once() {
        let local = Clock::manual(1_000_000);
        let store = StoreClock::new(local.clone());
        let clock = store.clock();
        let micros = |millis: i64| (i64::try_from(local.millis()).unwrap() + millis) * 1000;
        store.note(micros(-5_000), local.instant(), local.instant());
        assert_eq!(clock.millis(), local.millis() - 5_000);
        let before = local.instant();
        local.advance(Duration::from_millis(1));
        store.restart();
        // An answer of the old primary that comes late.
        store.note(micros(-5_000), before, local.instant());
        let sent = local.instant();
        local.advance(Duration::from_millis(100));
        store.note(micros(7_000 - 50), sent, local.instant());
        assert_eq!(clock.millis(), local.millis() + 7_000);
    }
}
