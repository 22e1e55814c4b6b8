//! The database's clock, by which all servers judge lifetimes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::clock::{Anchor, Clock};

/// An older measurement gives way to a worse one.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Learns the time of the database's clock from the answers to statements (Cristian's method). The truth lies
/// within half a round trip of what is learned, so the shortest round trip of the last minute counts. A longer
/// one that contradicts it counts as well: a clock has been set, or this machine was suspended.
pub(super) struct StoreClock {
    local: Clock,
    anchor: Arc<Anchor>,
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
            anchor: Arc::new(Anchor::at(&local)),
            local,
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
        self.local.anchored(Arc::clone(&self.anchor))
    }

    /// The database told its time, in microseconds, between two moments.
    pub(super) fn note(&self, micros: i64, sent: Instant, received: Instant) {
        if self.valid_from.lock().is_some_and(|valid_from| sent < valid_from) {
            return;
        }
        let round_trip = received.saturating_duration_since(sent);
        let half = |round_trip: Duration| i64::try_from(round_trip.as_micros() / 2).unwrap_or(i64::MAX);
        let learned = micros.saturating_add(half(round_trip));
        let mut best = self.best.lock();
        let counts = best.is_none_or(|best| {
            let difference = self.anchor.micros_at(received).saturating_sub(learned);
            let most = half(round_trip).saturating_add(half(best.round_trip));
            round_trip <= best.round_trip
                || received.saturating_duration_since(best.at) > MAX_AGE
                || difference.saturating_abs() > most
        });
        if counts {
            *best = Some(Measurement {
                round_trip,
                at: received,
            });
            self.anchor.set(learned, received);
        }
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
        // A slower answer counts for less.
        let later = i64::try_from(local.millis()).unwrap() + 3_600_000;
        ask(later + 5, 100);
        assert_eq!(clock.millis(), local.millis() + 3_600_000);
        local.advance(MAX_AGE * 2);
        ask(i64::try_from(local.millis()).unwrap() + 50 - 7000, 100);
        assert_eq!(clock.millis(), local.millis() - 7000);
    }

    #[test]
    fn a_step_of_the_local_clock_does_not_move_that_of_the_store() {
        let local = Clock::manual(1_000_000);
        let store = StoreClock::new(local.clone());
        let clock = store.clock();
        store.note(5_000_000_000, local.instant(), local.instant());
        local.set_millis(1_000_000 + 3_600_000);
        assert_eq!(clock.millis(), 5_000_000);
        local.advance(Duration::from_secs(1));
        assert_eq!(clock.millis(), 5_001_000);
    }

    #[test]
    fn an_answer_that_proves_the_time_wrong_counts_however_slow() {
        let local = Clock::manual(1_000_000);
        let store = StoreClock::new(local.clone());
        let clock = store.clock();
        store.note(5_000_000_000, local.instant(), local.instant());
        // The machine was suspended for a minute.
        let sent = local.instant();
        local.advance(Duration::from_millis(100));
        store.note(5_060_000_000, sent, local.instant());
        assert_eq!(clock.millis(), 5_060_050);
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
