//! A store that several servers share, in memory: groups that do not hold are left out, and floating
//! appends land at the end. Tests decide what happens between two calls, when news arrive, and what
//! fails.

mod connection;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
};

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::{Hook, run};
use crate::{
    clock::Clock,
    protocol::{Millis, StreamName},
    storage::{
        Change, Changed, CommitError, Duty, Expect, Feed, Group, Landed, Storage, StorageError, Stored, StreamId,
        Verdict, Verdicts, memory::InMemoryStorage,
    },
};

pub(super) const NOW: Millis = 1_000_000;

/// The store itself.
pub(crate) struct Shared {
    inner: RwLock<Arc<InMemoryStorage>>,
    /// The name and the revision of each stream.
    streams: Mutex<HashMap<StreamId, (StreamName, u64)>>,
    /// The greatest id that was removed, for each name.
    removed: Mutex<HashMap<StreamName, StreamId>>,
    /// Every batch of changes since the beginning of this history.
    log: Mutex<Vec<Vec<Change>>>,
    history: AtomicU64,
    pub(crate) clock: Clock,
    /// The server that has each duty.
    pub(super) duties: Mutex<HashMap<Duty, usize>>,
    receivers: Mutex<Vec<Receiver>>,
    /// Whether a server is told of its own changes, too.
    pub(super) echoes: AtomicBool,
    connected: AtomicUsize,
}

/// Has the next call that runs this hook say when it does, and wait until it is let go.
pub(crate) fn hold(hook: &Hook) -> (oneshot::Receiver<()>, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel();
    let (arrived, on_its_way) = oneshot::channel();
    *hook.lock() = Some(Box::new(move || {
        let _ = arrived.send(());
        let _ = wait.recv();
    }));
    (on_its_way, go)
}

/// One server's connection.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    pub(super) number: usize,
    blocking: bool,
    /// Runs once, between the judgement of a batch and its commit.
    pub(super) before_commit: Hook,
    /// Runs once, between a commit and its answer.
    pub(super) after_commit: Hook,
    /// Runs once, between a fresh read and its answer.
    pub(super) after_refresh: Hook,
    /// Runs once, before names are listed.
    pub(crate) before_list: Hook,
    /// How many groups with changes are yet to be answered as moved, whatever they expect.
    pub(super) forced_moves: AtomicUsize,
    /// The outcome of the next commit is unknown; whether it is made.
    pub(crate) unknown: Mutex<Option<bool>>,
    /// A commit that was not made when its outcome was asked for.
    late: Mutex<Vec<Group>>,
    pub(crate) away: AtomicBool,
    /// A stream that fresh reads cannot read.
    pub(super) damaged: Mutex<Option<StreamName>>,
    /// It answers reads and takes no writes.
    pub(crate) takes_no_writes: AtomicBool,
    /// How many calls, but for duties, it has refused while it was away.
    pub(super) refused: AtomicUsize,
    /// The verdicts of each commit: whether each group was committed.
    pub(super) commits: Mutex<Vec<Vec<bool>>>,
    /// The number of streams of each fresh read.
    pub(crate) refreshes: Mutex<Vec<usize>>,
    /// The number of ranges of each read of several.
    pub(super) reads_of_many: Mutex<Vec<usize>>,
    /// The number of reads of a single range.
    pub(super) reads: AtomicUsize,
    pub(super) maintained: AtomicUsize,
    inbox: Arc<Inbox>,
}

/// A server that is told of changes.
#[derive(Clone)]
struct Receiver {
    inbox: Arc<Inbox>,
    feed: Weak<dyn Feed>,
}

/// News on their way to one server.
struct Inbox {
    number: usize,
    is_held: AtomicBool,
    news: Mutex<VecDeque<(usize, Vec<Changed>)>>,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: RwLock::new(Arc::new(InMemoryStorage::new(0))),
            streams: Mutex::default(),
            removed: Mutex::default(),
            log: Mutex::default(),
            history: AtomicU64::new(1),
            clock: Clock::manual(NOW),
            duties: Mutex::default(),
            receivers: Mutex::default(),
            echoes: AtomicBool::new(false),
            connected: AtomicUsize::new(0),
        })
    }

    pub(crate) fn connect(self: &Arc<Self>, blocking: bool) -> Arc<Connection> {
        let number = self.connected.fetch_add(1, SeqCst);
        Arc::new(Connection {
            shared: Arc::clone(self),
            number,
            blocking,
            before_commit: Mutex::default(),
            after_commit: Mutex::default(),
            after_refresh: Mutex::default(),
            before_list: Mutex::default(),
            forced_moves: AtomicUsize::new(0),
            unknown: Mutex::default(),
            late: Mutex::default(),
            away: AtomicBool::new(false),
            damaged: Mutex::default(),
            takes_no_writes: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            commits: Mutex::default(),
            refreshes: Mutex::default(),
            reads_of_many: Mutex::default(),
            reads: AtomicUsize::new(0),
            maintained: AtomicUsize::new(0),
            inbox: Arc::new(Inbox {
                number,
                is_held: AtomicBool::new(false),
                news: Mutex::default(),
            }),
        })
    }

    pub(super) fn inner(&self) -> Arc<InMemoryStorage> {
        Arc::clone(&self.inner.read())
    }

    /// The number of batches so far.
    pub(super) fn batches(&self) -> usize {
        self.log.lock().len()
    }

    /// Every batch so far. Each is one group.
    pub(super) fn log(&self) -> Vec<Vec<Change>> {
        self.log.lock().clone()
    }

    /// Goes back to the first `batches`, as an asynchronous standby does.
    pub(super) fn lose_all_after(&self, batches: usize) {
        let mut kept = std::mem::take(&mut *self.log.lock());
        kept.truncate(batches);
        *self.inner.write() = Arc::new(InMemoryStorage::new(0));
        self.streams.lock().clear();
        let ids = kept.iter().flatten().filter_map(|change| match change {
            Change::Put { record, .. } => Some(record.id),
            Change::Append { .. } | Change::Writer { .. } | Change::Remove { .. } => None,
        });
        // A stream that is kept was created after its id was reserved.
        self.inner().reserve_ids(1 << 16, ids.max().unwrap_or(0)).unwrap();
        for batch in kept {
            let mut streams = self.streams.lock();
            batch.iter().for_each(|change| note_revision(&mut streams, change));
            drop(streams);
            self.apply(batch).unwrap();
        }
        self.history.fetch_add(1, SeqCst);
    }

    /// Tells every server that the history has changed.
    pub(super) fn announce_history(&self) {
        let receivers = self.receivers.lock().clone();
        let feeds = receivers.iter().filter_map(|receiver| receiver.feed.upgrade());
        feeds.for_each(|feed| feed.restored());
    }

    fn apply(&self, batch: Vec<Change>) -> Result<(), CommitError> {
        self.log.lock().push(batch.clone());
        let applied = self.inner().commit(&[Group::from(batch)])?;
        assert!(matches!(applied, Verdicts::AllCommitted), "{applied:?}");
        Ok(())
    }

    fn stored(&self, streams: &HashMap<StreamId, (StreamName, u64)>, id: StreamId) -> Option<Stored> {
        let (name, rev) = streams.get(&id)?;
        let stored = self
            .inner()
            .get(name)
            .unwrap()
            .filter(|stored| stored.record.id == id)?;
        Some(Stored { rev: *rev, ..stored })
    }

    fn commit(&self, group: &Group, force_move: bool) -> Result<Verdict, CommitError> {
        let mut streams = self.streams.lock();
        let holds = |expect: &Expect| match expect {
            Expect::Rev { id, rev } => self.stored(&streams, *id).is_some_and(|stored| stored.rev == *rev),
            Expect::Absent { name } => self.inner().get(name).unwrap().is_none(),
            Expect::Writer { id, key, progress } => {
                let writers = self.inner().writers(*id).unwrap();
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
            Change::Put { name, record } => {
                let removed = self.removed.lock().get(name).copied();
                let present = self.inner().get(name).unwrap().map(|stored| stored.record.id);
                streams.contains_key(&record.id) || removed.max(present).is_none_or(|before| before < record.id)
            }
            Change::Writer { .. } | Change::Remove { .. } => true,
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
        for change in &changes {
            if let Change::Remove { name, id } = change {
                let mut removed = self.removed.lock();
                let greatest = removed.entry(name.clone()).or_default();
                *greatest = (*greatest).max(*id);
            }
        }
        for change in &mut changes {
            note_revision(&mut streams, change);
            let (id, at) = match change {
                Change::Put { record, .. } => {
                    let stored = self.stored(&streams, record.id);
                    let at = stored.map_or(record.first(), |stored| stored.tail);
                    (record.id, at)
                }
                Change::Append { id, at, .. } => {
                    let tail = self.stored(&streams, *id).map_or(*at, |stored| stored.tail);
                    *at = tail;
                    (*id, tail)
                }
                Change::Remove { .. } | Change::Writer { .. } => continue,
            };
            let rev = streams.get(&id).map_or(0, |(_, rev)| *rev);
            landed.retain(|landed| landed.id != id);
            landed.push(Landed { id, at, rev });
        }
        self.apply(changes)?;
        Ok(Verdict::Committed(landed))
    }
}

fn note_revision(streams: &mut HashMap<StreamId, (StreamName, u64)>, change: &Change) {
    match change {
        Change::Put { name, record } => {
            streams.entry(record.id).or_insert_with(|| (name.clone(), 0)).1 += 1;
        }
        Change::Remove { id, .. } => {
            streams.remove(id);
        }
        Change::Append { .. } | Change::Writer { .. } => {}
    }
}
