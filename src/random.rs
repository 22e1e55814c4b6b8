//! Randomness as a value.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
#[cfg(test)]
use rand::SeedableRng;
use rand::{RngExt, rngs::StdRng};

/// A source of random numbers. Clones draw from the same source.
///
/// Not for secrets: a seeded source is predictable.
#[derive(Debug, Clone, Default)]
pub struct Random(Option<Arc<Mutex<StdRng>>>);

impl Random {
    /// The thread-local generator, which the operating system seeds.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A source whose numbers follow from `seed`.
    #[must_use]
    #[cfg(test)]
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(StdRng::seed_from_u64(seed)))))
    }

    /// A number in `low..=high`; `low` where the range is empty.
    #[must_use]
    #[allow(clippy::disallowed_methods)]
    pub fn between(&self, low: u64, high: u64) -> u64 {
        if low >= high {
            return low;
        }
        match &self.0 {
            None => rand::random_range(low..=high),
            Some(seeded) => seeded.lock().random_range(low..=high),
        }
    }

    /// `base` ±20 %, so that clients which were given the same delay do not return together.
    #[must_use]
    pub fn jittered(&self, base: Duration) -> Duration {
        let millis = u64::try_from(base.as_millis()).unwrap_or(u64::MAX);
        let spread = millis / 5;
        Duration::from_millis(self.between(millis - spread, millis.saturating_add(spread)))
    }

    /// 64 random bits in lowercase hex.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:016x}", self.between(0, u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers() {
        let (one, other) = (Random::seeded(7), Random::seeded(7));
        let draw = |random: &Random| (0..20).map(|_| random.between(0, 1000)).collect::<Vec<_>>();
        assert_eq!(draw(&one), draw(&other));
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        let random = Random::seeded(1);
        for _ in 0..100 {
            let delay = random.jittered(Duration::from_secs(10)).as_millis();
            assert!((8_000..=12_000).contains(&delay));
        }
    }
}
