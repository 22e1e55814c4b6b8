//! Shares of a common pool, per holder.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts what each holder has. Holders that have nothing are forgotten, so there are never more
/// of them than there are things to have.
#[derive(Debug)]
pub struct Shares {
    limit: usize,
    counts: Mutex<HashMap<u64, usize>>,
}

/// Things that a holder has, for as long as this exists. Empty where nobody is counted.
#[derive(Debug, Default)]
pub struct Share(Option<Held>);

#[derive(Debug)]
struct Held {
    shares: Arc<Shares>,
    holder: u64,
    count: usize,
}

impl Shares {
    /// Shares of up to `limit`.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            counts: Mutex::default(),
        })
    }

    /// One more for `holder`; `None` when its share is used up.
    #[must_use]
    pub fn take(self: &Arc<Self>, holder: u64) -> Option<Share> {
        self.take_many(holder, 1)
    }

    /// `more` for `holder`; `None` when its share has no room for them.
    #[must_use]
    pub fn take_many(self: &Arc<Self>, holder: u64, more: usize) -> Option<Share> {
        if self.limit == usize::MAX {
            return Some(Share::default());
        }
        let mut counts = self.counts.lock();
        let held = counts.get(&holder).copied().unwrap_or(0);
        let count = held.checked_add(more).filter(|count| *count <= self.limit)?;
        counts.insert(holder, count);
        Some(Share(Some(Held {
            shares: Arc::clone(self),
            holder,
            count: more,
        })))
    }

    /// How many holders have something.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        self.counts.lock().len()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(held) = self.0.take() else { return };
        let mut counts = held.shares.counts.lock();
        if let Entry::Occupied(mut count) = counts.entry(held.holder) {
            *count.get_mut() -= held.count;
            if *count.get() == 0 {
                count.remove();
            }
        }
        // A crowd that has left must not leave its table.
        if counts.len() < counts.capacity() / 8 {
            counts.shrink_to(128);
        }
    }
}

/// The network that counts as one client: an IPv4 address, or the /64 that an IPv6 client can
/// choose its addresses from.
#[must_use]
pub fn network(address: IpAddr) -> u64 {
    /// No unicast address of IPv6 begins like this.
    const IPV4: u64 = 0xffff_ffff_0000_0000;
    match address.to_canonical() {
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_has_no_more_than_its_share_and_is_forgotten() {
        let shares = Shares::new(2);
        let held = [shares.take(1), shares.take(1), shares.take(2)];
        assert!(held.iter().all(Option::is_some));
        assert!(shares.take(1).is_none());
        assert_eq!(shares.holders(), 2);
        drop(held);
        assert_eq!(shares.holders(), 0);
        assert!(shares.take(1).is_some());
    }

    #[test]
    fn a_refused_share_leaves_no_trace() {
        let shares = Shares::new(10);
        assert!(shares.take_many(1, 11).is_none());
        assert_eq!(shares.holders(), 0);
        let held = shares.take_many(1, 8);
        assert!(shares.take_many(1, 3).is_none() && shares.take_many(1, usize::MAX).is_none());
        assert!(shares.take_many(1, 2).is_some());
        drop(held);
        assert!(shares.take_many(1, 10).is_some());
    }

    #[test]
    fn no_limit_counts_nobody() {
        let shares = Shares::new(usize::MAX);
        let _held: Vec<_> = (0..100).map(|holder| shares.take(holder)).collect();
        assert_eq!(shares.holders(), 0);
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let same = |one: &str, other: &str| network(one.parse().unwrap()) == network(other.parse().unwrap());
        assert!(same("2001:db8::1", "2001:db8::ffff:0:0:2"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
    }
}
