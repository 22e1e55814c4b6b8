//! A rate limit for log lines that clients or a broken disk can cause thousands of times a second.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::clock::Clock;

/// At most one line per key in this time.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets one log line per key through each [`INTERVAL`] and counts the others.
#[derive(Debug, Default)]
pub struct LogThrottle {
    clock: Clock,
    entries: Mutex<HashMap<&'static str, Entry>>,
}

#[derive(Debug)]
struct Entry {
    last_allowed: Instant,
    suppressed: u64,
}

impl LogThrottle {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            entries: Mutex::default(),
        }
    }

    /// If a line may be logged now, how many were suppressed since the last one.
    pub fn allow(&self, key: &'static str) -> Option<u64> {
        let now = self.clock.instant();
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(key) else {
            let entry = Entry {
                last_allowed: now,
                suppressed: 0,
            };
            entries.insert(key, entry);
            return Some(0);
        };
        if now.saturating_duration_since(entry.last_allowed) < INTERVAL {
            entry.suppressed += 1;
            return None;
        }
        entry.last_allowed = now;
        Some(std::mem::take(&mut entry.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_key_and_interval_is_allowed_and_the_others_are_counted() {
        let clock = Clock::manual(0);
        let throttle = LogThrottle::new(clock.clone());
        assert_eq!(throttle.allow("full"), Some(0));
        for millis in [0, 1, 9_998] {
            clock.advance(Duration::from_millis(millis));
            assert_eq!(throttle.allow("full"), None);
        }
        assert_eq!(throttle.allow("other"), Some(0));
        clock.advance(Duration::from_millis(1));
        assert_eq!(throttle.allow("full"), Some(3));
        assert_eq!(throttle.allow("full"), None);
        clock.advance(INTERVAL);
        assert_eq!(throttle.allow("full"), Some(1));
    }
}
