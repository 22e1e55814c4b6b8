//! Time as a value.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use crate::protocol::Millis;

/// A wall clock and a monotonic clock. Clones tell the same time.
///
/// Timers are tokio's, whose time a test can pause; everything that compares or stores
/// moments asks a `Clock`.
#[derive(Debug, Clone, Default)]
pub struct Clock(Option<Arc<Manual>>);

/// A clock that stands still until it is moved.
#[derive(Debug)]
struct Manual {
    start: Instant,
    since_epoch: Mutex<Duration>,
    since_start: Mutex<Duration>,
}

impl Clock {
    /// The clocks of the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `millis` since the Unix epoch until [`Clock::advance`] moves it.
    #[must_use]
    #[cfg(test)]
    pub fn manual(millis: Millis) -> Self {
        #[allow(clippy::disallowed_methods)]
        let start = Instant::now();
        Self(Some(Arc::new(Manual {
            start,
            since_epoch: Mutex::new(Duration::from_millis(millis)),
            since_start: Mutex::new(Duration::ZERO),
        })))
    }

    /// Moves a manual clock forward. Does nothing to the system's.
    #[cfg(test)]
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.0 {
            *manual.since_epoch.lock() += by;
            *manual.since_start.lock() += by;
        }
    }

    /// Sets a manual clock's wall time, as an operator or NTP would: [`Clock::instant`] is not
    /// affected. Does nothing to the system's.
    #[cfg(test)]
    pub fn set_millis(&self, millis: Millis) {
        if let Some(manual) = &self.0 {
            *manual.since_epoch.lock() = Duration::from_millis(millis);
        }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn millis(&self) -> Millis {
        u64::try_from(self.since_epoch().as_millis()).unwrap_or(u64::MAX)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn micros(&self) -> u64 {
        u64::try_from(self.since_epoch().as_micros()).unwrap_or(u64::MAX)
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub fn secs(&self) -> u64 {
        self.since_epoch().as_secs()
    }

    /// A monotonic instant, for durations.
    #[must_use]
    #[allow(clippy::disallowed_methods)]
    pub fn instant(&self) -> Instant {
        match &self.0 {
            None => Instant::now(),
            Some(manual) => manual.start + *manual.since_start.lock(),
        }
    }

    #[allow(clippy::disallowed_methods)]
    fn since_epoch(&self) -> Duration {
        match &self.0 {
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO),
            Some(manual) => *manual.since_epoch.lock(),
        }
    }
}
