//! What one holder may have of something that all share.

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
    counts: Mutex<HashMap<u64, u32>>,
}

/// One thing that a holder has, for as long as this exists. Empty where nobody is counted.
#[derive(Debug, Default)]
pub struct Share(Option<(Arc<Shares>, u64)>);

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
        if self.limit == usize::MAX {
            return Some(Share::default());
        }
        let mut counts = self.counts.lock();
        let count = counts.entry(holder).or_insert(0);
        if *count as usize >= self.limit {
            return None;
        }
        *count += 1;
        Some(Share(Some((Arc::clone(self), holder))))
    }

    /// How many holders have something.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        self.counts.lock().len()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some((shares, holder)) = self.0.take() else { return };
        let mut counts = shares.counts.lock();
        if let Entry::Occupied(mut count) = counts.entry(holder) {
            *count.get_mut() -= 1;
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
