//! The counters of requests.

use std::collections::HashMap;

use arc_swap::ArcSwap;
use http::StatusCode;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use rustc_hash::FxBuildHasher;

use super::registered::registered;

type Counters = HashMap<(&'static str, StatusCode), IntCounter, FxBuildHasher>;

/// Counts every request. The counters in use are found without the lock of the whole family, which
/// all workers would contend for.
#[derive(Debug)]
pub(super) struct RequestCounters {
    all: IntCounterVec,
    /// By operation and status. Both have few values.
    used: ArcSwap<Counters>,
}

impl RequestCounters {
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new("ds_requests_total", "Requests by operation and status");
        let all = IntCounterVec::new(options, &["operation", "status"]);
        Ok(Self {
            all: registered(registry, all)?,
            used: ArcSwap::default(),
        })
    }

    pub(super) fn count(&self, operation: &'static str, status: StatusCode) {
        let key = (operation, status);
        if let Some(counter) = self.used.load().get(&key) {
            return counter.inc();
        }
        let counter = self.all.with_label_values(&[operation, status.as_str()]);
        counter.inc();
        self.used.rcu(|used| {
            let mut used = Counters::clone(used);
            used.insert(key, counter.clone());
            used
        });
    }
}
