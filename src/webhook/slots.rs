//! How many deliveries are in flight, in total and to each host.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::WebhooksConfig;

/// The slots of deliveries. A host has few of them, and its deliveries wait for one before they wait
/// for one of all, so a slow host delays itself alone.
#[derive(Debug)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    per_host: usize,
    hosts: Mutex<HashMap<Arc<str>, Host>>,
}

#[derive(Debug)]
struct Host {
    /// Deliveries that wait or are in flight.
    users: usize,
    slots: Arc<Semaphore>,
}

/// The right to deliver to one host, returned on drop.
#[derive(Debug)]
pub struct Slot {
    _of_all: OwnedSemaphorePermit,
    _of_host: OwnedSemaphorePermit,
    _use: HostUse,
}

#[derive(Debug)]
struct HostUse {
    slots: Arc<Slots>,
    host: Arc<str>,
}

impl Slots {
    pub(super) fn new(config: &WebhooksConfig) -> Arc<Self> {
        let all = config.max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            all: Arc::new(Semaphore::new(all)),
            per_host: config.max_in_flight_per_target.clamp(1, all),
            hosts: Mutex::default(),
        })
    }

    /// Waits for a slot.
    pub(super) async fn acquire(self: &Arc<Self>, host: &str) -> Slot {
        let (of_host, host) = self.enter(host);
        Slot {
            _of_host: permit(of_host).await,
            _of_all: permit(Arc::clone(&self.all)).await,
            _use: host,
        }
    }

    fn enter(self: &Arc<Self>, host: &str) -> (Arc<Semaphore>, HostUse) {
        let host: Arc<str> = host.into();
        let mut hosts = self.hosts.lock();
        let entry = hosts.entry(Arc::clone(&host)).or_insert_with(|| Host {
            users: 0,
            slots: Arc::new(Semaphore::new(self.per_host)),
        });
        entry.users += 1;
        let slots = Arc::clone(self);
        (Arc::clone(&entry.slots), HostUse { slots, host })
    }

    #[cfg(test)]
    fn hosts(&self) -> usize {
        self.hosts.lock().len()
    }
}

/// These semaphores are never closed.
async fn permit(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    match semaphore.acquire_owned().await {
        Ok(permit) => permit,
        Err(_) => std::future::pending().await,
    }
}

impl Drop for HostUse {
    fn drop(&mut self) {
        let mut hosts = self.slots.hosts.lock();
        if let Entry::Occupied(mut host) = hosts.entry(Arc::clone(&self.host)) {
            host.get_mut().users = host.get().users.saturating_sub(1);
            if host.get().users == 0 {
                host.remove();
            }
        }
        // Give the memory of a past peak back.
        if hosts.len() < hosts.capacity() / 8 {
            hosts.shrink_to(128);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn slots(in_flight: usize, per_host: usize) -> Arc<Slots> {
        Slots::new(&WebhooksConfig {
            max_in_flight: in_flight,
            max_in_flight_per_target: per_host,
            ..WebhooksConfig::default()
        })
    }

    fn at_once(slots: &Arc<Slots>, host: &str) -> Option<Slot> {
        slots.acquire(host).now_or_never()
    }

    #[tokio::test]
    async fn a_slow_host_leaves_room_for_the_others() {
        let slots = slots(4, 2);
        let held = [at_once(&slots, "slow"), at_once(&slots, "slow")];
        assert!(held.iter().all(Option::is_some));
        let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(slots.acquire("slow"))).collect();
        assert!(waiting.iter_mut().all(|wait| wait.now_or_never().is_none()));
        let others = [at_once(&slots, "other"), at_once(&slots, "another")];
        assert!(others.iter().all(Option::is_some));
        assert!(at_once(&slots, "one too many").is_none());
        drop((held, others));
        for wait in waiting {
            wait.await;
        }
        assert_eq!(slots.hosts(), 0);
    }

    #[tokio::test]
    async fn a_host_that_waits_in_vain_is_forgotten() {
        let slots = slots(1, 1);
        let held = at_once(&slots, "a");
        assert!(at_once(&slots, "a").is_none() && at_once(&slots, "b").is_none());
        assert_eq!(slots.hosts(), 1);
        drop(held);
        assert_eq!(slots.hosts(), 0);
        assert!(at_once(&slots, "b").is_some());
    }
}
