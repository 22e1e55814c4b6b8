//! What one holder may have of something that all share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// Counts what each holder has. Holders that have nothing are forgotten, so there are never more
/// of them than there are things to have.
#[derive(Debug)]
pub struct Shares<K> {
    limit: usize,
    counts: Mutex<HashMap<K, usize>>,
}

/// One thing that a holder has, for as long as this exists.
#[derive(Debug)]
pub struct Share<K: Hash + Eq> {
    shares: Arc<Shares<K>>,
    /// `None` where nobody is counted.
    holder: Option<K>,
}

impl<K: Hash + Eq + Clone> Shares<K> {
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
    pub fn take(self: &Arc<Self>, holder: K) -> Option<Share<K>> {
        let counted = self.limit < usize::MAX;
        if counted {
            let mut counts = self.counts.lock();
            let count = counts.entry(holder.clone()).or_insert(0);
            if *count >= self.limit {
                return None;
            }
            *count += 1;
        }
        Some(Share {
            shares: Arc::clone(self),
            holder: counted.then_some(holder),
        })
    }

    /// How many holders have something.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        self.counts.lock().len()
    }
}

impl<K: Hash + Eq> Drop for Share<K> {
    fn drop(&mut self) {
        let Some(holder) = self.holder.take() else { return };
        let mut counts = self.shares.counts.lock();
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
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_has_no_more_than_its_share_and_is_forgotten() {
        let shares = Shares::new(2);
        let held = [shares.take("a"), shares.take("a"), shares.take("b")];
        assert!(held.iter().all(Option::is_some));
        assert!(shares.take("a").is_none());
        assert_eq!(shares.holders(), 2);
        drop(held);
        assert_eq!(shares.holders(), 0);
        assert!(shares.take("a").is_some());
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
