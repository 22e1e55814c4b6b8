//! The limit on HTTP/2 requests that are cancelled right away (CVE-2023-44487).

use std::time::Duration;

use tokio::time::Instant;

/// A request that is cancelled within this time counts.
pub(super) const EARLY: Duration = Duration::from_secs(1);

const BURST: f64 = 512.0;
const PER_SECOND: f64 = 64.0;

/// A token bucket. A browser that leaves a page cancels a few dozen requests, an attacker
/// thousands.
#[derive(Debug)]
pub(super) struct CancellationLimit {
    tokens: f64,
    updated: Instant,
}

impl CancellationLimit {
    pub(super) fn new() -> Self {
        Self {
            tokens: BURST,
            updated: Instant::now(),
        }
    }

    /// Counts one cancellation; false beyond the limit.
    pub(super) fn try_count(&mut self) -> bool {
        let elapsed = self.updated.elapsed().as_secs_f64();
        self.updated = Instant::now();
        self.tokens = (self.tokens + elapsed * PER_SECOND).min(BURST) - 1.0;
        self.tokens >= 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_allowed_and_then_some_each_second() {
        let mut limit = CancellationLimit::new();
        assert!((0..512).all(|_| limit.try_count()));
        assert!(!limit.try_count());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((0..100).filter(|_| limit.try_count()).count(), 63);
    }
}
