//! How many deliveries are in flight, in total and to each host.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::Instant};

use super::WebhooksConfig;

/// A host whose last delivery took this long is slow.
const SLOW: Duration = Duration::from_secs(5);
/// Idle hosts that are remembered as slow.
const MAX_SLOW_HOSTS: usize = 10_000;
/// This part of all slots is for hosts that have no delivery in flight.
const RESERVED_PART: usize = 8;
/// This part of all slots is the most that slow hosts have together.
const SLOW_PART: usize = 2;

/// The slots of deliveries. Hosts that wait get them in turn, those with the fewest first, so that
/// hosts which do not answer leave room for those that do.
#[derive(Debug)]
pub(super) struct Slots {
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Debug, Clone, Copy)]
struct Limits {
    all: usize,
    per_host: usize,
    reserved: usize,
    of_slow_hosts: usize,
}

#[derive(Debug, Default)]
struct Table {
    in_flight: usize,
    in_flight_to_slow: usize,
    slow_hosts: usize,
    hosts: HashMap<Arc<str>, Host>,
    /// Hosts with deliveries that wait.
    queue: Queue,
    last: u64,
}

/// Hosts by their deliveries in flight, and then in the order in which they came.
#[derive(Debug, Default)]
struct Queue {
    fast: BTreeSet<Place>,
    slow: BTreeSet<Place>,
}

type Place = (usize, u64, Arc<str>);

#[derive(Debug, Default)]
struct Host {
    in_flight: usize,
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
    is_slow: bool,
    place: Option<Place>,
}

/// The right to deliver to one host, returned on drop.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    host: Arc<str>,
    /// The beginning of the delivery.
    since: Option<Instant>,
}

/// A delivery that waits for its slot.
struct Waiting {
    slots: Arc<Slots>,
    host: Arc<str>,
    number: u64,
    granted: oneshot::Receiver<()>,
    is_taken: bool,
}

impl Slots {
    pub(super) fn new(config: &WebhooksConfig) -> Arc<Self> {
        let all = config.max_in_flight.max(1);
        let limits = Limits {
            all,
            per_host: config.max_in_flight_per_target.clamp(1, all),
            reserved: all / RESERVED_PART,
            of_slow_hosts: (all / SLOW_PART).max(1),
        };
        Arc::new(Self {
            limits,
            table: Mutex::default(),
        })
    }

    /// Waits for a slot.
    pub(super) async fn acquire(self: &Arc<Self>, host: &str) -> Slot {
        let mut waiting = self.enqueue(host);
        // The sender is dropped only with this.
        let _ = (&mut waiting.granted).await;
        waiting.is_taken = true;
        Slot {
            slots: Arc::clone(self),
            host: Arc::clone(&waiting.host),
            since: None,
        }
    }

    fn enqueue(self: &Arc<Self>, host: &str) -> Waiting {
        let host: Arc<str> = host.into();
        let (grant, granted) = oneshot::channel();
        let mut table = self.table.lock();
        table.last += 1;
        let number = table.last;
        let entry = table.hosts.entry(Arc::clone(&host)).or_default();
        entry.waiting.push_back((number, grant));
        table.place(&host);
        table.grant(self.limits);
        drop(table);
        Waiting {
            slots: Arc::clone(self),
            host,
            number,
            granted,
            is_taken: false,
        }
    }

    #[cfg(test)]
    fn hosts(&self) -> usize {
        self.table.lock().hosts.len()
    }
}

impl Table {
    /// Gives out the slots that are free.
    fn grant(&mut self, limits: Limits) {
        while let Some(host) = self.next(limits) {
            let Some(entry) = self.hosts.get_mut(&host) else { return };
            let Some((_, grant)) = entry.waiting.pop_front() else {
                return;
            };
            entry.in_flight += 1;
            self.in_flight += 1;
            self.in_flight_to_slow += usize::from(entry.is_slow);
            self.place(&host);
            // A delivery that no longer waits is not in the queue.
            let _ = grant.send(());
        }
    }

    /// The host that gets the next slot.
    fn next(&self, limits: Limits) -> Option<Arc<str>> {
        let free = limits.all.saturating_sub(self.in_flight);
        // If a host with fewer in flight must not have it, those after it must not either.
        let may_have = |(in_flight, _, _): &&Place| {
            let kept = if *in_flight == 0 { 0 } else { limits.reserved };
            *in_flight < limits.per_host && free > kept
        };
        let fast = self.queue.fast.first().filter(may_have);
        let slow = self.queue.slow.first().filter(may_have);
        let slow = slow.filter(|_| self.in_flight_to_slow < limits.of_slow_hosts);
        fast.into_iter().chain(slow).min().map(|(_, _, host)| Arc::clone(host))
    }

    /// Puts a host where it belongs in the queue, after those that have as many in flight.
    fn place(&mut self, host: &Arc<str>) {
        self.last += 1;
        let Some(entry) = self.hosts.get_mut(host) else { return };
        if let Some(place) = entry.place.take() {
            self.queue.fast.remove(&place);
            self.queue.slow.remove(&place);
        }
        if !entry.waiting.is_empty() {
            let place = (entry.in_flight, self.last, Arc::clone(host));
            entry.place = Some(place.clone());
            let queue = if entry.is_slow {
                &mut self.queue.slow
            } else {
                &mut self.queue.fast
            };
            queue.insert(place);
        } else if entry.in_flight == 0 && !(entry.is_slow && self.slow_hosts <= MAX_SLOW_HOSTS) {
            self.slow_hosts -= usize::from(entry.is_slow);
            self.hosts.remove(host);
            // Give the memory of a past peak back.
            if self.hosts.len() < self.hosts.capacity() / 8 {
                self.hosts.shrink_to(128);
            }
        }
    }

    fn release(&mut self, host: &Arc<str>, is_slow: Option<bool>, limits: Limits) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        self.in_flight -= 1;
        self.in_flight_to_slow -= usize::from(entry.is_slow);
        entry.in_flight -= 1;
        if let Some(is_slow) = is_slow.filter(|is_slow| *is_slow != entry.is_slow) {
            entry.is_slow = is_slow;
            if is_slow {
                self.in_flight_to_slow += entry.in_flight;
                self.slow_hosts += 1;
            } else {
                self.in_flight_to_slow -= entry.in_flight;
                self.slow_hosts -= 1;
            }
        }
        self.place(host);
        self.grant(limits);
    }

    fn withdraw(&mut self, host: &Arc<str>, number: u64, limits: Limits) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        match entry.waiting.iter().position(|(waiting, _)| *waiting == number) {
            Some(index) => {
                entry.waiting.remove(index);
                self.place(host);
            }
            // It was granted, and nobody has taken it.
            None => self.release(host, None, limits),
        }
    }
}

impl Slot {
    /// Begins the delivery. A slot that is returned without one tells nothing of its host.
    pub(super) fn begin(mut self) -> Self {
        self.since = Some(Instant::now());
        self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let is_slow = self.since.map(|since| since.elapsed() >= SLOW);
        let mut table = self.slots.table.lock();
        table.release(&self.host, is_slow, self.slots.limits);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.is_taken {
            let mut table = self.slots.table.lock();
            table.withdraw(&self.host, self.number, self.slots.limits);
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
        slots.acquire(host).now_or_never().map(Slot::begin)
    }

    /// As many as a host gets at once.
    fn fill(slots: &Arc<Slots>, host: &str) -> Vec<Slot> {
        std::iter::from_fn(|| at_once(slots, host)).collect()
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

    #[tokio::test]
    async fn hosts_that_fill_their_shares_leave_the_last_slots_to_hosts_that_have_none() {
        let slots = slots(64, 8);
        let held: Vec<_> = (0..8).map(|host| fill(&slots, &format!("hangs {host}"))).collect();
        assert_eq!(held.iter().map(Vec::len).sum::<usize>(), 57);
        let others: Vec<_> = (0..7).map(|host| fill(&slots, &format!("answers {host}"))).collect();
        assert!(others.iter().all(|held| held.len() == 1));
        assert!(at_once(&slots, "one too many").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_that_are_slow_have_half_of_the_slots_together() {
        let slots = slots(64, 8);
        let host = |number: usize| format!("slow {number}");
        for number in 0..100 {
            let slot = at_once(&slots, &host(number));
            tokio::time::advance(SLOW).await;
            drop(slot);
        }
        let held: Vec<_> = (0..100).flat_map(|number| at_once(&slots, &host(number))).collect();
        assert_eq!(held.len(), 32);
        assert_eq!(fill(&slots, "fast").len(), 8);
        tokio::time::advance(SLOW).await;
        drop(held);
        // One fast delivery, and the host is as good as any other.
        drop(at_once(&slots, &host(0)));
        let held: Vec<_> = (1..100).flat_map(|number| at_once(&slots, &host(number))).collect();
        assert_eq!(held.len(), 32);
        assert!(at_once(&slots, &host(0)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_without_a_delivery_tells_nothing_of_its_host() {
        let slots = slots(2, 2);
        let slow = at_once(&slots, "hangs");
        tokio::time::advance(SLOW).await;
        drop(slow);
        drop(slots.acquire("hangs").await);
        // One of two slots, as before.
        assert_eq!(fill(&slots, "hangs").len(), 1);
        let unused = slots.acquire("answers").await;
        tokio::time::advance(SLOW).await;
        drop(unused);
        assert_eq!(fill(&slots, "answers").len(), 2);
    }

    #[tokio::test]
    async fn a_host_with_fewer_in_flight_comes_first() {
        let slots = slots(3, 3);
        let mut held = fill(&slots, "busy");
        assert_eq!(held.len(), 3);
        let mut busy = Box::pin(slots.acquire("busy"));
        assert!((&mut busy).now_or_never().is_none());
        let mut idle = Box::pin(slots.acquire("idle"));
        assert!((&mut idle).now_or_never().is_none());
        held.pop();
        let granted = (&mut idle).now_or_never();
        assert!(granted.is_some() && (&mut busy).now_or_never().is_none());
        held.pop();
        assert!(busy.now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_hosts_that_are_remembered_as_slow_are_bounded() {
        let slots = slots(4, 1);
        for number in 0..MAX_SLOW_HOSTS + 100 {
            let slot = at_once(&slots, &number.to_string());
            tokio::time::advance(SLOW).await;
            drop(slot);
        }
        assert!(slots.hosts() <= MAX_SLOW_HOSTS + 1, "{}", slots.hosts());
    }
}
