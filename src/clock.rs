//! The one place that reads clocks and draws randomness.
//!
//! Everything else takes what it needs from here, so that a test can see at a
//! glance what depends on the outside world.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub type Millis = u64;

/// The wall clock, in milliseconds since the Unix epoch.
#[allow(clippy::disallowed_methods)]
#[must_use]
pub fn now_millis() -> Millis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

/// The wall clock, in microseconds since the Unix epoch.
#[allow(clippy::disallowed_methods)]
#[must_use]
pub fn now_micros() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
}

/// The wall clock, in whole seconds since the Unix epoch.
#[must_use]
pub fn now_secs() -> u64 {
    now_millis() / 1000
}

/// A monotonic instant, for durations.
#[allow(clippy::disallowed_methods)]
#[must_use]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// A random number in `low..=high`.
#[allow(clippy::disallowed_methods)]
#[must_use]
pub fn random_between(low: u64, high: u64) -> u64 {
    if low >= high {
        return low;
    }
    rand::random_range(low..=high)
}

/// `base` spread by ±20 %, so that many clients told the same delay do not return at once.
#[must_use]
pub fn jittered(base: Duration) -> Duration {
    let millis = u64::try_from(base.as_millis()).unwrap_or(u64::MAX);
    let spread = millis / 5;
    Duration::from_millis(random_between(millis - spread, millis.saturating_add(spread)))
}

/// 64 random bits in lowercase hex: request ids and the like, never secrets.
#[allow(clippy::disallowed_methods)]
#[must_use]
pub fn random_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}
