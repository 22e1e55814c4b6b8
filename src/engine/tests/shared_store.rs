//! A store that several servers share, in memory: groups that do not hold are left out, and floating
//! appends land at the end.

use std::collections::HashMap;

use parking_lot::Mutex;

use super::{Hook, run};
use crate::{
    clock::Clock,
    protocol::{Millis, StreamName},
    storage::{
        Change, Changed, CommitError, Duty, Expect, Feed, Group, Landed, Position, SharedStore, Storage, StorageError,
        Stored, StreamId, Usage, Verdict, Verdicts, WriterState, memory::InMemoryStorage,
    },
};
use std::{
    ops::Range,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;

/// The store itself.
pub(super) struct Shared {
    pub(super) inner: InMemoryStorage,
    /// The name and the revision of each stream.
    streams: Mutex<HashMap<StreamId, (StreamName, u64)>>,
    /// The server that has each duty.
    duties: Mutex<HashMap<Duty, usize>>,
    feeds: Mutex<Vec<(usize, Weak<dyn Feed>)>>,
    connected: AtomicUsize,
}

/// One server's connection.
pub(super) struct Connection {
    shared: Arc<Shared>,
    number: usize,
    blocking: bool,
    /// Runs once, between the judgement of a batch and its commit.
    pub(super) before_commit: Hook,
    /// How many groups with changes are yet to be answered as moved, whatever they expect.
    pub(super) forced_moves: AtomicUsize,
    /// The verdicts of each commit: whether each group was committed.
    pub(super) commits: Mutex<Vec<Vec<bool>>>,
}

impl Shared {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: InMemoryStorage::new(0),
            streams: Mutex::default(),
            duties: Mutex::default(),
            feeds: Mutex::default(),
            connected: AtomicUsize::new(0),
        })
    }

    pub(super) fn connect(self: &Arc<Self>, blocking: bool) -> Arc<Connection> {
        Arc::new(Connection {
            shared: Arc::clone(self),
            number: self.connected.fetch_add(1, SeqCst),
            blocking,
            before_commit: Mutex::default(),
            forced_moves: AtomicUsize::new(0),
            commits: Mutex::default(),
        })
    }

    fn stored(&self, streams: &HashMap<StreamId, (StreamName, u64)>, id: StreamId) -> Option<Stored> {
        let (name, rev) = streams.get(&id)?;
        let stored = self.inner.get(name).unwrap().filter(|stored| stored.record.id == id)?;
        Some(Stored { rev: *rev, ..stored })
    }

    fn commit(&self, group: &Group, force_move: bool) -> Result<Verdict, CommitError> {
        let mut streams = self.streams.lock();
        let holds = |expect: &Expect| match expect {
            Expect::Rev { id, rev } => self.stored(&streams, *id).is_some_and(|stored| stored.rev == *rev),
            Expect::Absent { name } => self.inner.get(name).unwrap().is_none(),
            Expect::Writer { id, key, progress } => {
                let writers = self.inner.writers(*id).unwrap();
                let known = writers.into_iter().find(|(known, _)| known == key);
                known.map(|(_, state)| state.progress) == *progress
            }
            Expect::Room { id, at_most } => self.stored(&streams, *id).is_some_and(|stored| stored.tail <= *at_most),
        };
        let floats = |wanted: StreamId| {
            let mut expects = group.expects.iter();
            expects.any(|expect| matches!(expect, Expect::Room { id, .. } if *id == wanted))
        };
        let is_in_place = |change: &Change| match change {
            Change::Append { id, at, .. } => {
                let stored = self.stored(&streams, *id);
                stored.is_none_or(|stored| stored.tail == *at || floats(*id))
            }
            Change::Put { .. } | Change::Writer { .. } | Change::Remove { .. } => true,
        };
        if force_move || !group.expects.iter().all(holds) || !group.changes.iter().all(is_in_place) {
            let named = group.expects.iter().filter_map(|expect| match expect {
                Expect::Rev { id, .. } => Some(*id),
                Expect::Absent { .. } | Expect::Writer { .. } | Expect::Room { .. } => None,
            });
            return Ok(Verdict::Moved(
                named.map(|id| (id, self.stored(&streams, id))).collect(),
            ));
        }
        let mut landed: Vec<Landed> = Vec::new();
        for expect in &group.expects {
            if let Expect::Rev { id, rev } = expect {
                let at = self.stored(&streams, *id).map_or(0, |stored| stored.tail);
                landed.push(Landed { id: *id, at, rev: *rev });
            }
        }
        let mut changes = group.changes.clone();
        for change in &mut changes {
            let (id, at) = match change {
                Change::Put { name, record } => {
                    let stored = self.stored(&streams, record.id);
                    let at = stored.map_or(record.first(), |stored| stored.tail);
                    streams.entry(record.id).or_insert_with(|| (name.clone(), 0)).1 += 1;
                    (record.id, at)
                }
                Change::Append { id, at, .. } => {
                    let tail = self.stored(&streams, *id).map_or(*at, |stored| stored.tail);
                    *at = tail;
                    (*id, tail)
                }
                Change::Remove { id, .. } => {
                    streams.remove(id);
                    continue;
                }
                Change::Writer { .. } => continue,
            };
            let rev = streams.get(&id).map_or(0, |(_, rev)| *rev);
            landed.retain(|landed| landed.id != id);
            landed.push(Landed { id, at, rev });
        }
        let applied = self.inner.commit(&[Group::from(changes)])?;
        assert!(matches!(applied, Verdicts::AllCommitted), "{applied:?}");
        Ok(Verdict::Committed(landed))
    }
}

impl Storage for Connection {
    fn get(&self, name: &StreamName) -> Result<Option<Stored>, StorageError> {
        let streams = self.shared.streams.lock();
        let stored = self.shared.inner.get(name)?;
        Ok(stored.and_then(|stored| self.shared.stored(&streams, stored.record.id)))
    }

    fn writers(&self, id: StreamId) -> Result<Vec<(String, WriterState)>, StorageError> {
        self.shared.inner.writers(id)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(StreamName, Stored)>, StorageError> {
        self.shared.inner.list(prefix, after, limit)
    }

    fn due(&self, now: Millis, limit: usize) -> Result<Vec<StreamName>, StorageError> {
        self.shared.inner.due(now, limit)
    }

    fn read(&self, id: StreamId, range: Range<Position>) -> Result<Bytes, StorageError> {
        self.shared.inner.read(id, range)
    }

    fn commit(&self, groups: &[Group]) -> Result<Verdicts, CommitError> {
        run(&self.before_commit);
        let mut verdicts = Vec::new();
        for group in groups {
            let take = |left: usize| left.checked_sub(1);
            let force_move = !group.changes.is_empty() && self.forced_moves.fetch_update(SeqCst, SeqCst, take).is_ok();
            verdicts.push(self.shared.commit(group, force_move)?);
        }
        self.publish(groups, &verdicts);
        let committed = verdicts.iter().map(|verdict| matches!(verdict, Verdict::Committed(_)));
        self.commits.lock().push(committed.collect());
        Ok(Verdicts::Each(verdicts))
    }

    fn shared(&self) -> Option<&dyn SharedStore> {
        Some(self)
    }

    fn reserve_ids(&self, count: u64, lowest: StreamId) -> Result<StreamId, CommitError> {
        self.shared.inner.reserve_ids(count, lowest)
    }

    fn maintain(&self) -> Result<bool, CommitError> {
        self.shared.inner.maintain()
    }

    fn usage(&self) -> Usage {
        self.shared.inner.usage()
    }

    fn blocking(&self) -> bool {
        self.blocking
    }
}

impl Connection {
    /// Tells the other servers what a commit has changed.
    fn publish(&self, groups: &[Group], verdicts: &[Verdict]) {
        let mut changed = Vec::new();
        let streams = self.shared.streams.lock();
        for (group, verdict) in groups.iter().zip(verdicts) {
            if matches!(verdict, Verdict::Moved(_)) {
                continue;
            }
            for change in &group.changes {
                let id = match change {
                    Change::Put { record, .. } => record.id,
                    Change::Append { id, .. } | Change::Writer { id, .. } | Change::Remove { id, .. } => *id,
                };
                let stored = self.shared.stored(&streams, id);
                changed.push(Changed {
                    id,
                    rev: stored.as_ref().map_or(0, |stored| stored.rev),
                    tail: stored.as_ref().map_or(0, |stored| stored.tail),
                    gone: stored.is_none(),
                });
            }
        }
        drop(streams);
        let feeds = self.shared.feeds.lock().clone();
        let others = feeds.iter().filter(|(number, _)| *number != self.number);
        for feed in others.filter_map(|(_, feed)| feed.upgrade()) {
            feed.changed(&changed);
        }
    }
}

impl SharedStore for Connection {
    fn clock(&self) -> Clock {
        Clock::system()
    }

    fn history(&self) -> u64 {
        0
    }

    fn refresh(&self, names: &[StreamName]) -> Result<Vec<Option<Stored>>, StorageError> {
        names.iter().map(|name| self.get(name)).collect()
    }

    fn read_many(&self, ranges: &[(StreamId, Range<Position>)]) -> Result<Vec<Bytes>, StorageError> {
        ranges.iter().map(|(id, range)| self.read(*id, range.clone())).collect()
    }

    fn follow(&self, feed: Weak<dyn Feed>) {
        self.shared.feeds.lock().push((self.number, feed));
    }

    fn take_duty(&self, duty: Duty) -> Result<bool, StorageError> {
        Ok(*self.shared.duties.lock().entry(duty).or_insert(self.number) == self.number)
    }
}
