//! The moments at which the live reads of a stopping server end.

use std::{sync::OnceLock, time::Duration};

use tokio::time::Instant;

use crate::random::Random;

/// Reads that may end in a second however long the spread may be: so few returning readers are no
/// load, and they need not hold up a stop.
const READS_PER_SECOND: u32 = 100;

/// The time over which live reads end, which begins with the first draw.
#[derive(Debug, Default)]
pub(super) struct Departures {
    ends_at: OnceLock<Instant>,
}

impl Departures {
    /// A random moment from now to the end of the spread: `longest`, or less if there are few
    /// `reads`.
    pub(super) fn draw(&self, longest: Duration, reads: impl FnOnce() -> usize, random: &Random) -> Instant {
        let now = Instant::now();
        let ends_at = *self.ends_at.get_or_init(|| {
            let reads = u32::try_from(reads()).unwrap_or(u32::MAX);
            now + longest.min(Duration::from_secs(reads.into()) / READS_PER_SECOND)
        });
        let left = ends_at.saturating_duration_since(now);
        let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        now + Duration::from_millis(random.between(0, millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(20);

    /// How many of `reads` end in each second.
    fn per_second(reads: usize) -> Vec<usize> {
        let (departures, random, start) = (Departures::default(), Random::seeded(1), Instant::now());
        let mut counts = Vec::new();
        for _ in 0..reads {
            let second = (departures.draw(LONGEST, || reads, &random) - start).as_secs();
            let second = usize::try_from(second).unwrap();
            counts.resize(counts.len().max(second + 1), 0);
            counts[second] += 1;
        }
        counts
    }

    #[tokio::test(start_paused = true)]
    async fn many_reads_end_evenly_over_the_whole_spread() {
        let counts = per_second(20_000);
        // The last millisecond is the 21st second.
        assert!((20..=21).contains(&counts.len()), "{counts:?}");
        assert!(
            counts[..20].iter().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn few_reads_end_soon() {
        assert!(per_second(100).len() <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_that_starts_late_ends_with_the_others() {
        let (departures, random, start) = (Departures::default(), Random::seeded(1), Instant::now());
        departures.draw(LONGEST, || 1_000_000, &random);
        tokio::time::advance(Duration::from_secs(19)).await;
        for _ in 0..100 {
            assert!(departures.draw(LONGEST, || 1, &random) - start <= LONGEST);
        }
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(departures.draw(LONGEST, || 1, &random), Instant::now());
    }
}
