//! Streams that have changed and concern a subscription, until the dispatcher looks at them.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::atomic::{AtomicBool, Ordering},
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::index::{Concerned, Id, Index};
use crate::{
    engine::Watcher,
    protocol::StreamName,
    storage::{Changed as Change, StreamId},
};

/// Beyond this many changed streams, the dispatcher looks at all streams instead.
const MAX_MARKS: usize = 100_000;

/// Filled by the committer and the store's feed, emptied by the dispatcher and by the task that
/// follows the other servers.
#[derive(Default)]
pub(super) struct Marks {
    index: RwLock<Index>,
    changed: Mutex<Changed>,
    /// There is something for the dispatcher to do.
    pub(super) work: Notify,
    /// Streams and logs by the ids in the news of other servers. Empty if one server has the store.
    sources: RwLock<HashMap<StreamId, Source>>,
    news: Mutex<News>,
    /// Streams that other servers have changed, if this server looks after their work.
    changed_elsewhere: Mutex<HashSet<StreamName>>,
    /// There is something for the task that follows the other servers.
    pub(super) has_news: Notify,
    /// This server looks after subscriptions whose server has ended.
    oversees: AtomicBool,
}

#[derive(Default)]
pub(super) struct Changed {
    pub(super) names: HashSet<StreamName>,
    /// There were too many names to keep.
    pub(super) overflowed: bool,
    /// Subscriptions that other servers have changed.
    pub(super) logs: HashSet<Id>,
}

/// News of other servers.
#[derive(Default)]
pub(super) struct News {
    /// The log of announcements has changed.
    pub(super) announced: bool,
    /// Some news are missing.
    pub(super) missed: bool,
    /// The store has another history.
    pub(super) restored: bool,
}

/// A stream whose changes by other servers matter.
enum Source {
    Announcements,
    Log(Id),
    /// It is linked to this many subscriptions.
    Linked {
        name: StreamName,
        links: usize,
    },
}

impl Marks {
    pub(super) fn with_index<T>(&self, change: impl FnOnce(&mut Index) -> T) -> T {
        change(&mut self.index.write())
    }

    pub(super) fn concerned(&self, name: &StreamName) -> Concerned {
        self.index.read().concerned(name)
    }

    pub(super) fn concerns_any(&self, name: &StreamName) -> bool {
        self.index.read().concerns_any(name)
    }

    pub(super) fn take(&self) -> Changed {
        std::mem::take(&mut *self.changed.lock())
    }

    pub(super) fn take_news(&self) -> News {
        std::mem::take(&mut *self.news.lock())
    }

    /// Takes the streams that other servers have changed.
    pub(super) fn take_changed_elsewhere(&self) -> HashSet<StreamName> {
        std::mem::take(&mut *self.changed_elsewhere.lock())
    }

    pub(super) fn oversees(&self) -> bool {
        self.oversees.load(Ordering::Acquire)
    }

    pub(super) fn set_oversees(&self, oversees: bool) {
        self.oversees.store(oversees, Ordering::Release);
    }

    pub(super) fn note_announcements(&self, id: StreamId) {
        self.sources.write().insert(id, Source::Announcements);
    }

    /// Notes that the log of a subscription has another id than before.
    pub(super) fn note_log(&self, subscription: &Id, before: Option<StreamId>, now: Option<StreamId>) {
        let mut sources = self.sources.write();
        if let Some(before) = before {
            sources.remove(&before);
        }
        if let Some(now) = now {
            sources.insert(now, Source::Log(subscription.clone()));
        }
    }

    /// Notes links.
    pub(super) fn note_streams<'s>(&self, streams: impl Iterator<Item = (StreamId, &'s StreamName)>) {
        let mut sources = self.sources.write();
        for (id, stream) in streams {
            let new = Source::Linked {
                name: stream.clone(),
                links: 0,
            };
            if let Source::Linked { links, .. } = sources.entry(id).or_insert(new) {
                *links += 1;
            }
        }
    }

    /// Forgets links.
    pub(super) fn forget_streams<'s>(&self, streams: impl Iterator<Item = (StreamId, &'s StreamName)>) {
        let mut sources = self.sources.write();
        for (id, _) in streams {
            if let Entry::Occupied(mut source) = sources.entry(id)
                && let Source::Linked { links, .. } = source.get_mut()
            {
                *links -= 1;
                if *links == 0 {
                    source.remove();
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn sources(&self) -> usize {
        self.sources.read().len()
    }
}

impl Watcher for Marks {
    fn changed(&self, name: &StreamName) -> bool {
        if name.is_internal() || !self.concerns_any(name) {
            return false;
        }
        let mut changed = self.changed.lock();
        if changed.names.len() >= MAX_MARKS {
            changed.overflowed = true;
        } else if !changed.names.contains(name) {
            changed.names.insert(name.clone());
        }
        drop(changed);
        self.work.notify_one();
        true
    }

    fn changed_elsewhere(&self, changes: &[Change]) {
        let (mut logs, mut names, mut announced) = (Vec::new(), Vec::new(), false);
        let sources = self.sources.read();
        for source in changes.iter().filter_map(|change| sources.get(&change.id)) {
            match source {
                Source::Announcements => announced = true,
                Source::Log(id) => logs.push(id.clone()),
                Source::Linked { name, .. } if self.oversees() => names.push(name.clone()),
                Source::Linked { .. } => {}
            }
        }
        drop(sources);
        if !logs.is_empty() {
            self.changed.lock().logs.extend(logs);
            self.work.notify_one();
        }
        if !names.is_empty() {
            let mut changed = self.changed_elsewhere.lock();
            changed.extend(names);
            if changed.len() > MAX_MARKS {
                changed.clear();
                self.changed.lock().overflowed = true;
                self.work.notify_one();
            }
        }
        if announced {
            self.news.lock().announced = true;
            self.has_news.notify_one();
        }
    }

    /// Nothing tells which of the streams concern a subscription, and it happens rarely.
    fn happened_late(&self) {
        self.changed.lock().overflowed = true;
        self.work.notify_one();
    }

    fn missed(&self) {
        self.news.lock().missed = true;
        self.has_news.notify_one();
    }

    fn restored(&self) {
        self.news.lock().restored = true;
        self.has_news.notify_one();
    }
}
