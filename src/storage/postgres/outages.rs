//! When the database cannot be reached, and how often that is tried again and logged.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::{clock::Clock, log_throttle::LogThrottle};

/// After a connection could not be made, further attempts fail at once for this long.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// The outage of a database, if there is one, and the log lines about it.
pub(super) struct Outages {
    /// The database, for messages.
    shown: String,
    clock: Clock,
    present: Mutex<Option<Outage>>,
    throttle: LogThrottle,
}

struct Outage {
    reason: String,
    backoff: Duration,
    retry_at: Instant,
}

impl Outages {
    pub(super) fn new(shown: String, clock: Clock) -> Self {
        Self {
            shown,
            throttle: LogThrottle::new(clock.clone()),
            clock,
            present: Mutex::default(),
        }
    }

    /// Why the database cannot be reached; `None` if it can.
    pub(super) fn reason(&self) -> Option<String> {
        self.present.lock().as_ref().map(|outage| outage.reason.clone())
    }

    /// Why no connection is tried at the moment; `None`: it may be tried.
    pub(super) fn refusal(&self) -> Option<String> {
        let present = self.present.lock();
        let outage = present.as_ref().filter(|outage| self.clock.instant() < outage.retry_at);
        outage.map(|outage| outage.reason.clone())
    }

    pub(super) fn note(&self, reason: &str) {
        let now = self.clock.instant();
        let mut present = self.present.lock();
        let backoff = present
            .as_ref()
            .map_or(MIN_BACKOFF, |before| (before.backoff * 2).min(MAX_BACKOFF));
        *present = Some(Outage {
            reason: reason.to_owned(),
            backoff,
            retry_at: now + backoff,
        });
        drop(present);
        if let Some(suppressed) = self.throttle.allow("away") {
            let database = &self.shown;
            tracing::warn!(
                database,
                reason,
                suppressed,
                "the database cannot be reached; will retry"
            );
        }
    }

    pub(super) fn end(&self) {
        if self.present.lock().take().is_some() {
            tracing::info!(database = self.shown, "the database is reached again");
        }
    }

    /// Logs what is wrong with a database that is reached, but not each time.
    pub(super) fn warn(&self, what: &'static str) {
        if let Some(suppressed) = self.throttle.allow(what) {
            tracing::warn!(database = self.shown, suppressed, "{what}");
        }
    }
}
