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
    anchor: Option<Arc<Anchor>>,
}

/// The wall clock of another machine, as its time at one moment of this machine's monotonic clock. A step of
/// this machine's wall clock does not move it.
#[derive(Debug)]
pub struct Anchor {
    moment: Instant,
    /// The other clock's time at that moment, in microseconds since the Unix epoch.
    micros: AtomicI64,
}

#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
impl Anchor {
    /// A clock that agrees with `local` at present.
    pub fn at(local: &Clock) -> Self {
        Self {
            moment: local.instant(),
            micros: AtomicI64::new(i64::try_from(local.micros()).unwrap_or(i64::MAX)),
        }
    }

    /// The other clock showed `micros` at an instant after the anchor.
    pub fn set(&self, micros: i64, instant: Instant) {
        self.micros
            .store(micros.saturating_sub(self.since(instant)), Ordering::Relaxed);
    }

    /// The time of the other clock at an instant after the anchor, in microseconds.
    pub fn micros_at(&self, instant: Instant) -> i64 {
        self.micros.load(Ordering::Relaxed).saturating_add(self.since(instant))
    }

    fn since(&self, instant: Instant) -> i64 {
        let since = instant.saturating_duration_since(self.moment);
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
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
            anchor: None,
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

    /// The wall clock of another machine.
    #[must_use]
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub fn anchored(&self, anchor: Arc<Anchor>) -> Self {
        Self {
            manual: self.manual.clone(),
            anchor: Some(anchor),
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
        if let Some(anchor) = &self.anchor {
            return Duration::from_micros(u64::try_from(anchor.micros_at(self.instant())).unwrap_or(0));
        }
        match &self.manual {
            None => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO),
            Some(manual) => *manual.since_epoch.lock(),
        }
    }
}
