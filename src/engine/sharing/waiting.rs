//! Those who wait for a fresh read.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    engine::{cache::Refreshed, errors::Unavailable},
    protocol::StreamName,
    storage::MAX_REFRESHED,
};

/// Memory of those who wait; more are refused with [`Unavailable::Overloaded`].
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;
/// The memory of one that waits, besides its name.
const WAITER_BYTES: usize = 256;

pub(super) type Answer = Result<Refreshed, Unavailable>;

#[derive(Default)]
pub(super) struct Gatherer(pub(super) Mutex<Waiting>);

#[derive(Default)]
pub(super) struct Waiting {
    /// Each name once, in the order of the first that waits for it.
    names: VecDeque<StreamName>,
    pub(super) waiters: HashMap<StreamName, Vec<oneshot::Sender<Answer>>>,
    bytes: usize,
    is_running: bool,
}

/// The names of one call, each with those who wait for it.
pub(super) type Page = Vec<(StreamName, Vec<oneshot::Sender<Answer>>)>;

impl Waiting {
    fn cost(name: &StreamName) -> usize {
        WAITER_BYTES + 2 * name.as_str().len()
    }

    /// Returns whether a task must be started.
    pub(super) fn add(&mut self, name: &StreamName, waiter: oneshot::Sender<Answer>) -> Result<bool, Unavailable> {
        let cost = Self::cost(name);
        if self.bytes + cost > MAX_WAITING_BYTES {
            return Err(Unavailable::Overloaded);
        }
        self.bytes += cost;
        match self.waiters.get_mut(name) {
            Some(waiters) => waiters.push(waiter),
            None => {
                self.names.push_back(name.clone());
                self.waiters.insert(name.clone(), vec![waiter]);
            }
        }
        Ok(!std::mem::replace(&mut self.is_running, true))
    }

    /// The next page; `None` ends the task.
    pub(super) fn take(&mut self) -> Option<Page> {
        let count = self.names.len().min(MAX_REFRESHED);
        if count == 0 {
            *self = Self::default();
            return None;
        }
        let mut page = Vec::with_capacity(count);
        for name in self.names.drain(..count) {
            let waiters = self.waiters.remove(&name).unwrap_or_default();
            self.bytes = self.bytes.saturating_sub(waiters.len() * Self::cost(&name));
            page.push((name, waiters));
        }
        Some(page)
    }
}
