//! When the ACME server may be asked again, within the limits of Let's Encrypt.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Five failed validations of a name are allowed in an hour: one every 12 minutes.
const MIN_BACKOFF: Duration = Duration::from_secs(12 * 60);
const MAX_BACKOFF: Duration = Duration::from_secs(12 * 3600);
/// Five certificates for the same name are allowed in a week.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(7 * 86_400 / 5);

/// Saved before each validation, so that a server that keeps crashing stays within the limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RetrySchedule {
    /// Validations that failed since the last certificate.
    pub(super) failures: u32,
    /// In seconds since the Unix epoch.
    pub(super) not_before: u64,
}

impl RetrySchedule {
    /// The schedule if the validation that starts now fails.
    pub(super) fn after_failure(&self, now: u64) -> Self {
        let factor = 1_u32 << self.failures.min(10);
        let backoff = MIN_BACKOFF.saturating_mul(factor).min(MAX_BACKOFF);
        Self {
            failures: self.failures.saturating_add(1),
            not_before: now.saturating_add(backoff.as_secs()),
        }
    }

    /// The schedule after a certificate with this lifetime (in seconds) has been issued.
    pub(super) fn after_success(now: u64, lifetime: u64) -> Self {
        Self {
            failures: 0,
            not_before: now.saturating_add(CERTIFICATE_INTERVAL.as_secs().min(lifetime / 2)),
        }
    }

    /// The time until the next attempt. A clock that was set back does not prolong it.
    pub(super) fn wait(&self, now: u64) -> Duration {
        let longest = MAX_BACKOFF.max(CERTIFICATE_INTERVAL).as_secs();
        Duration::from_secs(self.not_before.saturating_sub(now).min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_stay_within_five_an_hour() {
        let (mut schedule, mut now, mut times) = (RetrySchedule::default(), 1000, Vec::new());
        for _ in 0..20 {
            now += schedule.wait(now).as_secs();
            times.push(now);
            schedule = schedule.after_failure(now);
        }
        for window in times.windows(6) {
            assert!(window[5] - window[0] >= 3600, "{times:?}");
        }
        assert_eq!(times[19] - times[18], 12 * 3600);
    }

    #[test]
    fn certificates_stay_within_five_a_week() {
        let week = 7 * 86_400;
        assert_eq!(RetrySchedule::after_success(0, 90 * 86_400).wait(0).as_secs() * 5, week);
        // Short-lived ones are renewed in time all the same.
        assert_eq!(RetrySchedule::after_success(0, 20).wait(0).as_secs(), 10);
        // The clock of a machine that starts may be years back.
        let far_off = RetrySchedule {
            failures: 1,
            not_before: u64::MAX,
        };
        assert!(far_off.wait(0) <= MAX_BACKOFF.max(CERTIFICATE_INTERVAL));
    }
}
