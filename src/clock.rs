//! Time as a value.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use crate::protocol::Millis;

/// A wall clock and a monotonic clock. Clones tell the same time.
///
/// Timers are tokio's, whose time a test can pause; everything that compares or stores
/// moments asks a `Clock`.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    manual: Option<Arc<Manual>>,
    offset: Option<Arc<Offset>>,
}

/// By how much another machine's wall clock is ahead.
#[derive(Debug, Default)]
pub struct Offset {
    micros: AtomicI64,
}

impl Offset {
    /// Sets the offset, in microseconds.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub fn set(&self, micros: i64) {
        self.micros.store(micros, Ordering::Relaxed);
    }

    fn apply(&self, time: Duration) -> Duration {
        let micros = self.micros.load(Ordering::Relaxed);
        let by = Duration::from_micros(micros.unsigned_abs());
        if micros < 0 {
            time.saturating_sub(by)
        } else {
            time.saturating_add(by)
        }
    }
}

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
        let manual = Manual {
            start,
            since_epoch: Mutex::new(Duration::from_millis(millis)),
            since_start: Mutex::new(Duration::ZERO),
        };
        Self {
            manual: Some(Arc::new(manual)),
            offset: None,
        }
    }

    /// Moves a manual clock forward. Does nothing to the system's.
    #[cfg(test)]
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.manual {
            *manual.since_epoch.lock() += by;
            *manual.since_start.lock() += by;
        }
    }

    /// Sets a manual clock's wall time, as an operator or NTP would: [`Clock::instant`] is not
    /// affected. Does nothing to the system's.
    #[cfg(test)]
    pub fn set_millis(&self, millis: Millis) {
        if let Some(manual) = &self.manual {
            *manual.since_epoch.lock() = Duration::from_millis(millis);
        }
    }

    /// The wall clock of another machine, which is ahead of this one by `offset`.
    #[must_use]
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub fn with_offset(&self, offset: Arc<Offset>) -> Self {
        Self {
            manual: self.manual.clone(),
            offset: Some(offset),
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
        match &self.manual {
            None => Instant::now(),
            Some(manual) => manual.start + *manual.since_start.lock(),
        }
    }

    #[allow(clippy::disallowed_methods)]
    fn since_epoch(&self) -> Duration {
        let time = match &self.manual {
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO),
            Some(manual) => *manual.since_epoch.lock(),
        };
        self.offset.as_ref().map_or(time, |offset| offset.apply(time))
    }
}
