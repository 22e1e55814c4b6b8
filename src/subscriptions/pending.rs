//! The streams of one subscription that may have content after their cursors.

use std::collections::{BTreeMap, HashMap};

use crate::protocol::{Millis, StreamName};

/// The limit of a set. Nobody works it off while a subscription is paused, or its wake not claimed.
const MAX_STREAMS: usize = 10_000;

/// Streams in the order in which they were marked, each once. Derived from the streams and the
/// cursors, so it is not stored: a start computes it again.
#[derive(Default)]
pub(super) struct Pending {
    by_name: HashMap<StreamName, Mark>,
    by_order: BTreeMap<u64, StreamName>,
    next: u64,
    /// Streams were left out, which only an examination of all streams finds.
    is_incomplete: bool,
    /// When the set was last empty.
    since: Millis,
}

struct Mark {
    order: u64,
    version: u64,
}

impl Pending {
    /// Marks a stream. Returns whether there was room for it.
    pub(super) fn mark(&mut self, name: &StreamName, now: Millis) -> bool {
        if self.by_name.is_empty() {
            self.since = now;
        }
        self.next += 1;
        let version = self.next;
        let is_full = self.by_name.len() >= MAX_STREAMS;
        match self.by_name.get_mut(name) {
            Some(mark) => {
                mark.version = version;
                true
            }
            None if is_full => {
                self.is_incomplete = true;
                false
            }
            None => {
                let mark = Mark {
                    order: version,
                    version,
                };
                self.by_order.insert(version, name.clone());
                self.by_name.insert(name.clone(), mark);
                true
            }
        }
    }

    /// The first streams, and the version of each mark.
    pub(super) fn first(&self, limit: usize) -> Vec<(StreamName, u64)> {
        let names = self.by_order.values().take(limit);
        let version = |name: &StreamName| self.by_name.get(name).map_or(0, |mark| mark.version);
        names.map(|name| (name.clone(), version(name))).collect()
    }

    /// Removes a mark, unless the stream was marked again since `version`.
    pub(super) fn clear(&mut self, name: &StreamName, version: u64) {
        if let Some(mark) = self.by_name.get(name).filter(|mark| mark.version == version) {
            self.by_order.remove(&mark.order);
            self.by_name.remove(name);
        }
    }

    /// Puts a stream after all others, so that streams that are always pending leave room for them.
    pub(super) fn postpone(&mut self, name: &StreamName) {
        if let Some(mark) = self.by_name.get_mut(name) {
            self.next += 1;
            self.by_order.remove(&mark.order);
            mark.order = self.next;
            self.by_order.insert(self.next, name.clone());
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        !self.is_incomplete
    }

    /// Whether to examine all streams now: some were left out, and half of the others are done. The
    /// caller sees to it, and is told once.
    pub(super) fn take_incomplete(&mut self) -> bool {
        self.by_name.len() <= MAX_STREAMS / 2 && std::mem::take(&mut self.is_incomplete)
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Since when there has been something pending.
    pub(super) fn since(&self) -> Option<Millis> {
        (!self.by_name.is_empty()).then_some(self.since)
    }
}
