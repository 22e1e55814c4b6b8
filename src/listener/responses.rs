//! The memory of responses that clients have not taken yet: of each HTTP/2 connection, of each
//! client address, and of all connections together.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The largest frame of a body that counts as small. Small and large ones have room of their own,
/// so that neither waits for the other.
pub(super) const SMALL: usize = 64 * 1024;

/// The share of small frames in a budget: a quarter.
const SMALL_SHARE: usize = 4;

/// Room for frames, in bytes. It may be overdrawn by frames that are in memory already.
#[derive(Debug)]
struct Pool {
    limit: usize,
    held: AtomicUsize,
    room: Notify,
}

impl Pool {
    fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            held: AtomicUsize::new(0),
            room: Notify::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.held.load(Ordering::Acquire) < self.limit
    }

    fn add(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::AcqRel);
    }

    fn release(&self, bytes: usize) {
        let before = self.held.fetch_sub(bytes, Ordering::AcqRel);
        if before >= self.limit && before - bytes < self.limit {
            self.room.notify_one();
        }
    }

    /// Passes a wake-up on that left room.
    fn pass_on(&self) {
        if self.has_room() {
            self.room.notify_one();
        }
    }
}

/// The owner of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Connection,
    Address,
    Total,
}

/// A memory budget for responses. A connection's budget is part of its address's, and that one
/// part of the total.
#[derive(Debug)]
pub(super) struct Budget {
    level: Level,
    /// How long a body may wait for room before it breaks off.
    patience: Duration,
    small: Pool,
    large: Pool,
    /// Large frames that are charged, by address and length: one that many requests share is
    /// charged once.
    shared: Mutex<HashMap<(usize, usize), Weak<Charge>>>,
    parent: Option<Arc<Budget>>,
}

/// A frame's memory, charged for as long as it exists.
#[derive(Debug)]
pub(super) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
    /// Where the frame is listed as shared.
    key: Option<(usize, usize)>,
    /// The same frame's charge in the budget that this one is part of.
    _parent: Option<Arc<Charge>>,
    /// Keeps the address of `key` taken.
    _frame: Bytes,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Some(key) = self.key else {
            return self.budget.chain(|budget| budget.small.release(self.bytes));
        };
        self.budget.large.release(self.bytes);
        let mut shared = self.budget.shared.lock();
        // Another request may have charged the same frame anew in the meantime.
        if shared.get(&key).is_some_and(|charge| charge.strong_count() == 0) {
            shared.remove(&key);
        }
    }
}

/// Room for a frame that is not in memory yet.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.chain(|budget| budget.pool(self.bytes).release(self.bytes));
    }
}

impl Budget {
    /// The budget of all connections.
    pub(super) fn new(limit: u64, patience: Duration) -> Self {
        Self::within(Level::Total, limit, patience, None)
    }

    /// The budget of a client address.
    fn of_address(limit: u64, total: &Arc<Self>) -> Self {
        Self::within(Level::Address, limit, total.patience, Some(Arc::clone(total)))
    }

    /// A connection's budget.
    pub(super) fn of_connection(limit: u64, address: &Arc<Self>) -> Self {
        Self::within(Level::Connection, limit, address.patience, Some(Arc::clone(address)))
    }

    fn within(level: Level, limit: u64, patience: Duration, parent: Option<Arc<Self>>) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let small = limit / SMALL_SHARE;
        Self {
            level,
            patience,
            small: Pool::new(small),
            large: Pool::new(limit - small),
            shared: Mutex::default(),
            parent,
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    fn pool(&self, bytes: usize) -> &Pool {
        if bytes > SMALL { &self.large } else { &self.small }
    }

    fn chain(&self, mut visit: impl FnMut(&Self)) {
        let mut level = Some(self);
        while let Some(budget) = level {
            visit(budget);
            level = budget.parent.as_deref();
        }
    }

    /// The budget of the connection's address, or that of all connections.
    fn above_connection(&self) -> &Self {
        match (&self.parent, self.level) {
            (Some(parent), Level::Connection) => parent,
            _ => self,
        }
    }

    /// The pool that lacks room for frames of this size.
    fn full(&self, bytes: usize) -> Option<&Pool> {
        let own = self.pool(bytes);
        if !own.has_room() {
            return Some(own);
        }
        self.parent.as_ref().and_then(|parent| parent.full(bytes))
    }

    /// Whether there is room for a frame of this size, but for what the connection itself holds.
    pub(super) fn has_room_beside_connection(&self, bytes: usize) -> bool {
        self.above_connection().full(bytes).is_none()
    }

    /// Whether a body may begin whose first frame is in memory and whose others wait for room: a
    /// connection's budget may be overdrawn by as much again, since the frame is in memory already.
    pub(super) fn may_begin(&self, bytes: usize) -> bool {
        let own = self.pool(bytes);
        let overdrawn = own.held.load(Ordering::Acquire) >= own.limit.saturating_mul(2);
        let is_connection = self.level == Level::Connection;
        !(is_connection && overdrawn) && self.has_room_beside_connection(bytes)
    }

    /// Whether the memory of the address or of all connections is used up: clients that take
    /// nothing are given up sooner then.
    pub(super) fn is_short(&self) -> bool {
        let above = self.above_connection();
        above.full(0).is_some() || above.full(SMALL + 1).is_some()
    }

    /// Charges a frame that is in memory, even if there is no room for it.
    pub(super) fn charge(self: &Arc<Self>, frame: &Bytes) -> Arc<Charge> {
        self.charge_if(frame, || true).unwrap_or_else(|| self.new_small(frame))
    }

    /// Charges a frame that is in memory. `None`: there is no room for it.
    pub(super) fn admit(self: &Arc<Self>, frame: &Bytes) -> Option<Arc<Charge>> {
        self.charge_if(frame, || self.full(frame.len()).is_none())
    }

    fn charge_if(self: &Arc<Self>, frame: &Bytes, allowed: impl Fn() -> bool) -> Option<Arc<Charge>> {
        let bytes = frame.len();
        if bytes <= SMALL {
            return allowed().then(|| self.new_small(frame));
        }
        let key = (frame.as_ptr().addr(), bytes);
        let mut shared = self.shared.lock();
        if let Some(charge) = shared.get(&key).and_then(Weak::upgrade) {
            return Some(charge);
        }
        if !allowed() {
            return None;
        }
        self.large.add(bytes);
        let charge = Arc::new(Charge {
            budget: Arc::clone(self),
            bytes,
            key: Some(key),
            _parent: self.parent.as_ref().map(|parent| parent.charge(frame)),
            _frame: frame.clone(),
        });
        shared.insert(key, Arc::downgrade(&charge));
        Some(charge)
    }

    fn new_small(self: &Arc<Self>, frame: &Bytes) -> Arc<Charge> {
        let bytes = frame.len();
        self.chain(|budget| budget.small.add(bytes));
        Arc::new(Charge {
            budget: Arc::clone(self),
            bytes,
            key: None,
            _parent: None,
            _frame: Bytes::new(),
        })
    }

    /// Room for a frame of about this size, if there is some at once.
    pub(super) fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        if self.full(bytes).is_some() {
            return None;
        }
        self.chain(|budget| budget.pool(bytes).add(bytes));
        Some(Reservation {
            budget: Arc::clone(self),
            bytes,
        })
    }

    /// Waits for room.
    pub(super) async fn reserve(self: Arc<Self>, bytes: usize) -> Reservation {
        loop {
            let Some(full) = self.full(bytes) else {
                if let Some(reservation) = self.try_reserve(bytes) {
                    self.chain(|budget| budget.pool(bytes).pass_on());
                    return reservation;
                }
                continue;
            };
            let mut room = pin!(full.room.notified());
            room.as_mut().enable();
            if full.has_room() {
                continue;
            }
            room.await;
            // The pool may have room while another one lacks it: it is somebody else's then.
            if self.full(bytes).is_some() {
                full.pass_on();
            }
        }
    }

    /// Whether this is a connection's budget, and large frames have used it up.
    pub(super) fn is_connection_full(&self) -> bool {
        self.level == Level::Connection && !self.large.has_room()
    }

    /// Waits until the connection has room for a large frame.
    pub(super) async fn connection_room(self: Arc<Self>) {
        while self.is_connection_full() {
            let mut room = pin!(self.large.room.notified());
            room.as_mut().enable();
            if self.is_connection_full() {
                room.await;
            }
        }
        self.large.pass_on();
    }

    /// Bytes that are charged or reserved.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.small.held.load(Ordering::Acquire) + self.large.held.load(Ordering::Acquire)
    }
}

/// The budget of all connections, and those of the addresses that have some.
#[derive(Debug)]
pub(super) struct Budgets {
    total: Arc<Budget>,
    per_address: u64,
    addresses: Mutex<HashMap<u64, Weak<Budget>>>,
}

impl Budgets {
    pub(super) fn new(limit: u64, per_address: u64, patience: Duration) -> Self {
        Self {
            total: Arc::new(Budget::new(limit, patience)),
            per_address,
            addresses: Mutex::default(),
        }
    }

    /// The budget for the connections of one client; `None` for a peer that stands for many.
    pub(super) fn of(&self, client: Option<u64>) -> Arc<Budget> {
        let Some(client) = client.filter(|_| self.per_address < u64::MAX) else {
            return Arc::clone(&self.total);
        };
        let mut addresses = self.addresses.lock();
        if let Some(budget) = addresses.get(&client).and_then(Weak::upgrade) {
            return budget;
        }
        // Those without connections are forgotten before the table grows.
        if addresses.len() == addresses.capacity() {
            addresses.retain(|_, budget| budget.strong_count() > 0);
        }
        let budget = Arc::new(Budget::of_address(self.per_address, &self.total));
        addresses.insert(client, Arc::downgrade(&budget));
        budget
    }

    /// Bytes that are charged, all connections together.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.total.held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_holds_no_more_than_its_share_and_is_forgotten() {
        let budgets = Budgets::new(1 << 20, 400_000, Duration::from_secs(30));
        let client = Some;
        let frame = |_| Bytes::from(vec![0; 200_000]);
        let frames: Vec<Bytes> = (0..4).map(frame).collect();
        let one = Arc::new(Budget::of_connection(1 << 20, &budgets.of(client(1))));
        let held = [&frames[0], &frames[1]].map(|frame| one.admit(frame).unwrap());
        assert!(budgets.of(client(1)).admit(&frames[2]).is_none());
        assert!(one.is_short() && !one.may_begin(1 << 20));
        assert!(budgets.of(client(2)).admit(&frames[3]).is_some());
        assert!(budgets.of(None).admit(&frames[3]).is_some());
        drop(held);
        assert!(one.admit(&frames[2]).is_some());
        assert_eq!(budgets.held(), 0);
        drop(one);
        for last in 0..=255 {
            drop(budgets.of(client(last)));
        }
        assert!(budgets.addresses.lock().len() < 16);
    }

    fn budgets(total: u64, connection: u64) -> (Arc<Budget>, Arc<Budget>) {
        let total = Arc::new(Budget::new(total, Duration::from_secs(30)));
        let connection = Arc::new(Budget::of_connection(connection, &total));
        (total, connection)
    }

    #[test]
    fn a_frame_is_charged_until_its_last_part_is_gone() {
        let (total, connection) = budgets(1 << 20, 1 << 20);
        for size in [1, SMALL, SMALL + 1, 1 << 20] {
            let frame = Bytes::from(vec![0; size]);
            let charge = connection.charge(&frame);
            let other = Arc::clone(&charge);
            drop(charge);
            assert_eq!((total.held(), connection.held()), (size, size));
            drop(other);
            assert_eq!((total.held(), connection.held()), (0, 0));
        }
        assert!(total.shared.lock().is_empty() && connection.shared.lock().is_empty());
    }

    #[test]
    fn a_shared_frame_is_charged_once() {
        let (total, one) = budgets(1 << 20, 1 << 20);
        let other = Arc::new(Budget::of_connection(1 << 20, &total));
        let frame = Bytes::from(vec![0; 100_000]);
        let charges = [one.charge(&frame), one.charge(&frame), other.charge(&frame.clone())];
        assert_eq!((total.held(), one.held(), other.held()), (100_000, 100_000, 100_000));
        drop(charges);
        assert_eq!((total.held(), one.held(), other.held()), (0, 0, 0));
    }

    #[test]
    fn a_frame_without_room_is_refused_unless_it_is_charged_already() {
        let (_total, connection) = budgets(1 << 30, 400_000);
        let frame = |_| Bytes::from(vec![0; 200_000]);
        let frames: Vec<Bytes> = (0..3).map(frame).collect();
        let held: Vec<_> = frames[..2]
            .iter()
            .map(|frame| connection.admit(frame).unwrap())
            .collect();
        assert!(connection.admit(&frames[2]).is_none());
        assert!(connection.admit(&frames[1]).is_some());
        // Small ones are not refused because of large ones.
        assert!(connection.admit(&Bytes::from(vec![0; 1000])).is_some());
        drop(held);
        assert!(connection.admit(&frames[2]).is_some());
    }

    #[tokio::test]
    async fn those_who_wait_get_room_one_after_another() {
        let (total, connection) = budgets(400_000, 1 << 30);
        let first = total.try_reserve(300_000).unwrap();
        assert!(connection.try_reserve(100_000).is_none());
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let connection = Arc::clone(&connection);
                tokio::spawn(async move { drop(connection.reserve(100_000).await) })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(first);
        for task in waiting {
            tokio::time::timeout(Duration::from_secs(5), task)
                .await
                .unwrap()
                .unwrap();
        }
        assert_eq!((total.held(), connection.held()), (0, 0));
    }
}
