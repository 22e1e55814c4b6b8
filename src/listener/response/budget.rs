//! Memory budgets for responses that clients have not read yet: for each HTTP/2 connection, for
//! each client address, and for all connections together.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::body::Bytes;
use parking_lot::Mutex;

use super::pool::Pool;

/// The largest body frame that counts as small. Small and large frames have separate pools, so
/// that neither waits for the other.
pub(super) const MAX_SMALL_FRAME: usize = 64 * 1024;

/// Small frames get a quarter of a budget.
const SMALL_POOL_DIVISOR: usize = 4;

/// The owner of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Connection,
    Address,
    Total,
}

/// A memory budget for responses. A connection's budget is part of its address's budget, which is
/// part of the total.
#[derive(Debug)]
pub(in crate::listener) struct ResponseBudget {
    level: Level,
    /// How long a body may wait for room before it is aborted.
    max_wait: Duration,
    small: Pool,
    large: Pool,
    /// Charged large frames by address and length: a frame that many requests share is charged
    /// once.
    pub(super) shared: Mutex<HashMap<(usize, usize), Weak<Charge>>>,
    parent: Option<Arc<ResponseBudget>>,
}

/// Charges a frame's memory until it is dropped.
#[derive(Debug)]
pub(in crate::listener) struct Charge {
    budget: Arc<ResponseBudget>,
    bytes: usize,
    /// The frame's entry in `shared`.
    key: Option<(usize, usize)>,
    /// The same frame's charge in the parent budget.
    _parent: Option<Arc<Charge>>,
    /// Keeps the address in `key` from being reused.
    _frame: Bytes,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Some(key) = self.key else {
            return self.budget.chain(|budget| budget.small.release(self.bytes));
        };
        self.budget.large.release(self.bytes);
        let mut shared = self.budget.shared.lock();
        // Another request may have charged the same frame again.
        if shared.get(&key).is_some_and(|charge| charge.strong_count() == 0) {
            shared.remove(&key);
        }
    }
}

/// Room for a frame that is not in memory yet.
#[derive(Debug)]
pub(in crate::listener) struct Reservation {
    budget: Arc<ResponseBudget>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.chain(|budget| budget.pool(self.bytes).release(self.bytes));
    }
}

impl ResponseBudget {
    /// The budget of all connections.
    pub(in crate::listener) fn new(limit: u64, max_wait: Duration) -> Self {
        Self::within(Level::Total, limit, max_wait, None)
    }

    /// The budget of a client address.
    pub(super) fn of_address(limit: u64, total: &Arc<Self>) -> Self {
        Self::within(Level::Address, limit, total.max_wait, Some(Arc::clone(total)))
    }

    /// A connection's budget.
    pub(in crate::listener) fn of_connection(limit: u64, address: &Arc<Self>) -> Self {
        Self::within(Level::Connection, limit, address.max_wait, Some(Arc::clone(address)))
    }

    fn within(level: Level, limit: u64, max_wait: Duration, parent: Option<Arc<Self>>) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let small = limit / SMALL_POOL_DIVISOR;
        Self {
            level,
            max_wait,
            small: Pool::new(small),
            large: Pool::new(limit - small),
            shared: Mutex::default(),
            parent,
        }
    }

    pub(in crate::listener) fn max_wait(&self) -> Duration {
        self.max_wait
    }

    fn pool(&self, bytes: usize) -> &Pool {
        if bytes > MAX_SMALL_FRAME {
            &self.large
        } else {
            &self.small
        }
    }

    /// Visits this budget and those that it is part of.
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

    /// The first full pool for frames of this size, from this budget up.
    fn full_pool(&self, bytes: usize) -> Option<&Pool> {
        let own = self.pool(bytes);
        if !own.has_room() {
            return Some(own);
        }
        self.parent.as_ref().and_then(|parent| parent.full_pool(bytes))
    }

    /// Whether there is room for a frame of this size, leaving out the connection's own budget.
    pub(super) fn has_room_above_connection(&self, bytes: usize) -> bool {
        self.above_connection().full_pool(bytes).is_none()
    }

    /// Whether a body may start whose first frame is in memory while its others wait for room. The
    /// frame is in memory already, so the connection's budget may be overdrawn once over.
    pub(super) fn may_start(&self, bytes: usize) -> bool {
        let is_connection = self.level == Level::Connection;
        !(is_connection && self.pool(bytes).is_far_overdrawn()) && self.has_room_above_connection(bytes)
    }

    /// Whether the budget of the address or of all connections is used up: stalled clients are cut
    /// sooner then.
    pub(in crate::listener) fn is_exhausted(&self) -> bool {
        let above = self.above_connection();
        above.full_pool(0).is_some() || above.full_pool(MAX_SMALL_FRAME + 1).is_some()
    }

    /// Charges a frame that is in memory, even without room for it.
    pub(in crate::listener) fn charge(self: &Arc<Self>, frame: &Bytes) -> Arc<Charge> {
        self.charge_if(frame, || true).unwrap_or_else(|| self.new_small(frame))
    }

    /// Charges a frame that is in memory; `None` without room for it.
    pub(super) fn try_charge(self: &Arc<Self>, frame: &Bytes) -> Option<Arc<Charge>> {
        self.charge_if(frame, || self.full_pool(frame.len()).is_none())
    }

    fn charge_if(self: &Arc<Self>, frame: &Bytes, allowed: impl Fn() -> bool) -> Option<Arc<Charge>> {
        let bytes = frame.len();
        if bytes <= MAX_SMALL_FRAME {
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

    /// Reserves room for a frame of about this size; `None` without room for it.
    pub(super) fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        if self.full_pool(bytes).is_some() {
            return None;
        }
        self.chain(|budget| budget.pool(bytes).add(bytes));
        Some(Reservation {
            budget: Arc::clone(self),
            bytes,
        })
    }

    /// Waits for room for a frame of about this size.
    pub(in crate::listener) async fn reserve(self: Arc<Self>, bytes: usize) -> Reservation {
        loop {
            let Some(full) = self.full_pool(bytes) else {
                if let Some(reservation) = self.try_reserve(bytes) {
                    self.chain(|budget| budget.pool(bytes).wake_next());
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
            // Another pool may be full: the room in this one is for the next waiter then.
            if self.full_pool(bytes).is_some() {
                full.wake_next();
            }
        }
    }

    /// Whether this is a connection's budget that large frames have used up.
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
        self.large.wake_next();
    }

    /// Bytes that are charged or reserved.
    #[cfg(test)]
    pub(super) fn charged(&self) -> usize {
        self.small.used() + self.large.used()
    }
}
