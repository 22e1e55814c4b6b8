//! The response budgets of all clients.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;

use super::budget::ResponseBudget;

/// The budget of all connections, and one for each client address with connections.
#[derive(Debug)]
pub(in crate::listener) struct ResponseBudgets {
    total: Arc<ResponseBudget>,
    per_address: u64,
    pub(super) addresses: Mutex<HashMap<u64, Weak<ResponseBudget>>>,
}

impl ResponseBudgets {
    pub(in crate::listener) fn new(limit: u64, per_address: u64, max_wait: Duration) -> Self {
        Self {
            total: Arc::new(ResponseBudget::new(limit, max_wait)),
            per_address,
            addresses: Mutex::default(),
        }
    }

    /// The budget for the connections of a client; `None` stands for a peer that carries many
    /// clients.
    pub(in crate::listener) fn of_client(&self, client: Option<u64>) -> Arc<ResponseBudget> {
        let Some(client) = client.filter(|_| self.per_address < u64::MAX) else {
            return Arc::clone(&self.total);
        };
        let mut addresses = self.addresses.lock();
        if let Some(budget) = addresses.get(&client).and_then(Weak::upgrade) {
            return budget;
        }
        // Forget clients without connections before the table grows.
        if addresses.len() == addresses.capacity() {
            addresses.retain(|_, budget| budget.strong_count() > 0);
        }
        let budget = Arc::new(ResponseBudget::of_address(self.per_address, &self.total));
        addresses.insert(client, Arc::downgrade(&budget));
        budget
    }

    #[cfg(test)]
    pub(in crate::listener) fn charged(&self) -> usize {
        self.total.charged()
    }
}
