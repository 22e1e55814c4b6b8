//! Throttles addresses whose tokens fail to verify, because each costs a signature check, and
//! tokens that are refused again and again.

use std::{
    hash::RandomState,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use quick_cache::{
    UnitWeighter,
    sync::{Cache, DefaultLifecycle},
};

/// Client addresses in memory. The least used one is evicted, and would start with a full budget.
const MAX_ADDRESSES: usize = 16 * 1024;

/// The number of failures allowed at once and per minute (`auth.max_failures_per_minute`). 0 allows
/// any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) per_minute: u32,
}

/// A token bucket, counted from empty to full.
#[derive(Debug)]
struct Bucket {
    spent: f64,
    at: Instant,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { spent: 0.0, at: now }
    }

    /// Adds `cost`, or returns the time until there is room for another failure.
    fn take(&mut self, cost: u32, rate: Rate, now: Instant) -> Result<(), Duration> {
        let (room, per_second) = (f64::from(rate.per_minute), f64::from(rate.per_minute) / 60.0);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.spent = (self.spent - passed * per_second).max(0.0);
        self.at = now;
        let over = self.spent + 1.0 - room;
        if over > 0.0 && rate.per_minute > 0 {
            return Err(Duration::from_secs_f64(over / per_second));
        }
        self.spent += f64::from(cost);
        Ok(())
    }

    fn refund(&mut self, cost: u32) {
        self.spent = (self.spent - f64::from(cost)).max(0.0);
    }
}

/// Failed checks of tokens by client address.
pub(crate) struct FailedChecks {
    rate: Rate,
    addresses: Cache<IpAddr, Arc<Mutex<Bucket>>, UnitWeighter, RandomState>,
}

impl std::fmt::Debug for FailedChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FailedChecks")
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

/// Checks that were charged in advance. Refunded when the token verifies.
pub(crate) struct Charge(Option<(Arc<Mutex<Bucket>>, u32)>);

impl FailedChecks {
    pub(crate) fn new(rate: Rate) -> Self {
        let addresses = Cache::with(
            MAX_ADDRESSES,
            MAX_ADDRESSES as u64,
            UnitWeighter,
            RandomState::new(),
            DefaultLifecycle::default(),
        );
        Self { rate, addresses }
    }

    /// Charges an address for `checks` before they are made. Unknown clients are not charged.
    pub(crate) fn charge(&self, client: Option<IpAddr>, checks: u32, now: Instant) -> Result<Charge, Duration> {
        let Some(client) = client.filter(|_| checks > 0 && self.rate.per_minute > 0) else {
            return Ok(Charge(None));
        };
        let new = || Ok::<_, std::convert::Infallible>(Arc::new(Mutex::new(Bucket::new(now))));
        let Ok(bucket) = self.addresses.get_or_insert_with(&network(client), new);
        bucket.lock().take(checks, self.rate, now)?;
        Ok(Charge(Some((bucket, checks))))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.addresses.len()
    }
}

impl Charge {
    pub(crate) fn refund(self) {
        if let Some((bucket, checks)) = self.0 {
            bucket.lock().refund(checks);
        }
    }
}

/// The network that is throttled as one: an IPv4 address, or the /64 of an IPv6 address.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// The refusals of one token, for as long as the token is cached.
#[derive(Debug)]
pub(super) struct Refusals(Mutex<Option<Bucket>>);

impl Refusals {
    pub(super) const fn none() -> Self {
        Self(Mutex::new(None))
    }

    /// Counts a refusal, or returns the time to wait.
    pub(super) fn count(&self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.0.lock().get_or_insert_with(|| Bucket::new(now)).take(1, rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const RATE: Rate = Rate { per_minute: 6 };

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_has_a_minutes_budget_that_refills_over_a_minute() {
        let (checks, start) = (FailedChecks::new(RATE), Clock::manual(0).instant());
        let charge = |millis| {
            checks
                .charge(ip("192.0.2.1"), 1, start + Duration::from_millis(millis))
                .err()
        };
        for _ in 0..6 {
            assert_eq!(charge(0), None);
        }
        assert_eq!(charge(0), Some(Duration::from_secs(10)));
        assert_eq!(charge(9_000), Some(Duration::from_secs(1)));
        assert_eq!(charge(10_001), None);
        assert!(charge(10_001).is_some());
        assert_eq!((0..7).filter(|_| charge(100_000).is_none()).count(), 6);
    }

    #[test]
    fn a_check_that_did_not_fail_costs_nothing() {
        let (checks, now) = (FailedChecks::new(RATE), Clock::manual(0).instant());
        for _ in 0..100 {
            checks.charge(ip("192.0.2.1"), 4, now).ok().unwrap().refund();
        }
    }

    #[test]
    fn addresses_of_one_network_share_a_budget_and_others_do_not() {
        let (checks, now) = (FailedChecks::new(Rate { per_minute: 1 }), Clock::manual(0).instant());
        let refused = |text| checks.charge(ip(text), 1, now).is_err();
        for (first, other, shared) in [
            ("192.0.2.1", "192.0.2.2", false),
            ("198.51.100.1", "::ffff:198.51.100.1", true),
            ("2001:db8::1", "2001:db8::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            assert!(!refused(first), "{first}");
            assert_eq!(refused(other), shared, "{first} {other}");
        }
        // Unknown clients share nothing.
        assert!((0..10).all(|_| checks.charge(None, 1, now).is_ok()));
    }

    #[test]
    fn the_table_is_bounded() {
        let (checks, now) = (FailedChecks::new(RATE), Clock::manual(0).instant());
        for number in 0..200_000_u32 {
            let client = IpAddr::V4(number.into());
            assert!(checks.charge(Some(client), 1, now).is_ok());
        }
        assert!(checks.len() <= MAX_ADDRESSES + 1024, "{}", checks.len());
    }

    #[test]
    fn a_rate_of_zero_limits_nothing() {
        let off = Rate { per_minute: 0 };
        let (checks, refusals, now) = (FailedChecks::new(off), Refusals::none(), Clock::manual(0).instant());
        assert!((0..1000).all(|_| checks.charge(ip("192.0.2.1"), 4, now).is_ok() && refusals.count(off, now).is_ok()));
    }
}
