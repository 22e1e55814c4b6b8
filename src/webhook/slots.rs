//! How many deliveries are in flight and waiting, in total and for each host.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::WebhooksConfig;

/// The slots of deliveries. A host has few of them, and its deliveries wait for one before they wait
/// for one of all, so a slow host delays itself alone.
#[derive(Debug)]
pub(super) struct Slots {
    all: Arc<Semaphore>,
    limits: Limits,
    admitted: Mutex<Admitted>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    in_flight_per_host: usize,
    /// Waiting and in flight.
    deliveries: usize,
    deliveries_per_host: usize,
    bytes: usize,
}

/// Deliveries that wait or are in flight.
#[derive(Debug, Default)]
struct Admitted {
    deliveries: usize,
    bytes: usize,
    hosts: HashMap<Box<str>, Host>,
}

#[derive(Debug)]
struct Host {
    deliveries: usize,
    slots: Arc<Semaphore>,
}

/// The right to deliver, returned on drop.
#[derive(Debug)]
pub(super) struct Slot {
    _of_all: OwnedSemaphorePermit,
    _of_host: OwnedSemaphorePermit,
    _admission: Admission,
}

#[derive(Debug)]
struct Admission {
    slots: Arc<Slots>,
    host: Box<str>,
    bytes: usize,
}

impl Slots {
    pub(super) fn new(config: &WebhooksConfig) -> Arc<Self> {
        let in_flight = config.max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let in_flight_per_host = config.max_in_flight_per_target.clamp(1, in_flight);
        Arc::new(Self {
            all: Arc::new(Semaphore::new(in_flight)),
            limits: Limits {
                in_flight_per_host,
                deliveries: in_flight.saturating_add(config.max_waiting),
                deliveries_per_host: in_flight_per_host.saturating_add(config.max_waiting / 4),
                bytes: config.max_waiting_bytes,
            },
            admitted: Mutex::default(),
        })
    }

    /// Waits for a slot for a body of `bytes` to `host`. `None` if too many deliveries are waiting,
    /// or if no slot is free within `patience`.
    pub(super) async fn acquire(self: &Arc<Self>, host: &str, bytes: usize, patience: Duration) -> Option<Slot> {
        let (admission, of_host) = self.admit(host, bytes)?;
        let wait = async {
            let of_host = of_host.acquire_owned().await.ok()?;
            let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
            Some((of_all, of_host))
        };
        let (of_all, of_host) = timeout(patience, wait).await.ok()??;
        Some(Slot {
            _of_all: of_all,
            _of_host: of_host,
            _admission: admission,
        })
    }

    fn admit(self: &Arc<Self>, host: &str, bytes: usize) -> Option<(Admission, Arc<Semaphore>)> {
        let mut guard = self.admitted.lock();
        let admitted = &mut *guard;
        let has_room = admitted.deliveries < self.limits.deliveries
            // A body beyond the limit is delivered alone, because it would never be delivered otherwise.
            && (admitted.bytes == 0 || admitted.bytes.saturating_add(bytes) <= self.limits.bytes);
        let of_host = admitted.hosts.get(host).map_or(0, |host| host.deliveries);
        if !has_room || of_host >= self.limits.deliveries_per_host {
            return None;
        }
        let entry = admitted.hosts.entry(host.into()).or_insert_with(|| Host {
            deliveries: 0,
            slots: Arc::new(Semaphore::new(self.limits.in_flight_per_host)),
        });
        entry.deliveries += 1;
        admitted.deliveries += 1;
        admitted.bytes = admitted.bytes.saturating_add(bytes);
        let admission = Admission {
            slots: Arc::clone(self),
            host: host.into(),
            bytes,
        };
        Some((admission, Arc::clone(&entry.slots)))
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        let admitted = self.admitted.lock();
        admitted.hosts.is_empty() && admitted.deliveries == 0 && admitted.bytes == 0
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut admitted = self.slots.admitted.lock();
        admitted.deliveries = admitted.deliveries.saturating_sub(1);
        admitted.bytes = admitted.bytes.saturating_sub(self.bytes);
        if let Entry::Occupied(mut host) = admitted.hosts.entry(std::mem::take(&mut self.host)) {
            host.get_mut().deliveries = host.get().deliveries.saturating_sub(1);
            if host.get().deliveries == 0 {
                host.remove();
            }
        }
        // Give the memory of a past peak back.
        if admitted.hosts.len() < admitted.hosts.capacity() / 8 {
            admitted.hosts.shrink_to(128);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn slots(in_flight: usize, per_host: usize, waiting: usize, bytes: usize) -> Arc<Slots> {
        Slots::new(&WebhooksConfig {
            max_in_flight: in_flight,
            max_in_flight_per_target: per_host,
            max_waiting: waiting,
            max_waiting_bytes: bytes,
            ..WebhooksConfig::default()
        })
    }

    fn at_once(slots: &Arc<Slots>, host: &str) -> Option<Slot> {
        slots.acquire(host, 1, PATIENCE).now_or_never().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_host_leaves_room_for_the_others() {
        let slots = slots(4, 2, 100, 1000);
        let held = [at_once(&slots, "slow"), at_once(&slots, "slow")];
        assert!(held.iter().all(Option::is_some));
        assert!(at_once(&slots, "slow").is_none());
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let slots = Arc::clone(&slots);
                tokio::spawn(async move { slots.acquire("slow", 1, PATIENCE).await.is_some() })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(at_once(&slots, "other").is_some());
        drop(held);
        for task in waiting {
            assert!(task.await.unwrap());
        }
        assert!(slots.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_are_limited_in_number_time_and_bytes() {
        let slots = slots(1, 1, 4, 100);
        let held = slots.acquire("a", 60, PATIENCE).await.unwrap();
        // One may wait for the same host, and three for others.
        let mut waiting: Vec<_> = ["a", "b", "c", "d"]
            .map(|host| Box::pin(slots.acquire(host, 10, PATIENCE)))
            .into();
        for wait in &mut waiting {
            assert!(wait.now_or_never().is_none());
        }
        let begun = tokio::time::Instant::now();
        for host in ["a", "e"] {
            assert!(slots.acquire(host, 0, PATIENCE).await.is_none(), "{host}");
        }
        waiting.pop();
        assert!(slots.acquire("e", 11, PATIENCE).await.is_none());
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(slots.acquire("e", 10, PATIENCE).await.is_none());
        assert_eq!(begun.elapsed(), PATIENCE);
        drop((held, waiting));
        assert!(slots.is_empty());
        assert!(slots.acquire("large", 1000, PATIENCE).await.is_some());
    }
}
