use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::clock;

/// How often the same thing is said.
const EVERY: Duration = Duration::from_secs(10);

/// Says the same thing seldom: a disk that is full refuses thousands of writes a second, and a
/// line for each would fill what is left of it.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<HashMap<&'static str, Said>>);

#[derive(Debug)]
struct Said {
    at: Instant,
    /// How often it was not said since.
    unsaid: u64,
}

impl Seldom {
    /// Whether to say it now, and if so, how often it was left unsaid since the last time.
    pub fn now(&self, what: &'static str) -> Option<u64> {
        self.at(what, clock::instant())
    }

    fn at(&self, what: &'static str, now: Instant) -> Option<u64> {
        let mut said = self.0.lock();
        let Some(last) = said.get_mut(what) else {
            said.insert(what, Said { at: now, unsaid: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(last.at) < EVERY {
            last.unsaid += 1;
            return None;
        }
        last.at = now;
        Some(std::mem::take(&mut last.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_said_and_then_one_each_time() {
        let (seldom, start) = (Seldom::default(), clock::instant());
        assert_eq!(seldom.at("full", start), Some(0));
        for millis in [0, 1, 9_999] {
            assert_eq!(seldom.at("full", start + Duration::from_millis(millis)), None);
        }
        assert_eq!(seldom.at("other", start), Some(0));
        assert_eq!(seldom.at("full", start + EVERY), Some(3));
        assert_eq!(seldom.at("full", start + EVERY + Duration::from_millis(1)), None);
        assert_eq!(seldom.at("full", start + 2 * EVERY), Some(1));
    }
}
