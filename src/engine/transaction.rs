//! A batch being put together: commands are judged against what the batch has staged so far, and
//! nothing is published before the store has committed it.

use std::{collections::HashMap, sync::Arc};

use super::{
    cache::StreamCache,
    errors::Unavailable,
    ids::Ids,
    judged::{Judged, Partition, Subject},
    snapshot::Gone,
    staged::Staged,
    stream::{Origin, Stream},
    watch::Watch,
    writers::{Evicted, WriterTables, Writers},
};
use crate::{
    protocol::{Millis, Offset, StreamName},
    storage::{
        Expect, Group, IdMap, Landed, Position, ProducerState, Progress, Storage, Stored, StreamId, StreamRecord,
        Verdict, Verdicts, WriterState,
    },
};

/// Up to this many staged streams, a search is cheaper than a map.
const MAX_SCANNED: usize = 8;
/// How often a lookup is repeated because the stream had ended.
const MAX_LOOKUPS: usize = 8;

/// The surroundings in which commands are judged.
pub(super) struct Context<'c> {
    pub(super) storage: &'c dyn Storage,
    pub(super) cache: &'c StreamCache,
    pub(super) watch: &'c Watch,
    pub(super) config: &'c super::EngineConfig,
    pub(super) now: Millis,
    /// That of streams that the batch creates.
    pub(super) origin: Origin,
}

/// Streams as the batch leaves them, in the order in which it first touched them.
pub(super) struct Transaction<'c> {
    pub(super) context: Context<'c>,
    staged: Vec<Staged>,
    /// The staged streams, once there are more than [`MAX_SCANNED`].
    by_id: IdMap<usize>,
    created: HashMap<StreamName, usize>,
    ids: &'c mut Ids,
    writers: &'c mut WriterTables,
    judged: Option<Judged>,
}

/// Names a staged stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// How far past its judged tail each stream was found, and its incarnation.
#[derive(Debug, Default)]
pub(super) struct Landings(HashMap<StreamId, (Position, u64)>);

impl Landings {
    /// Corrects a tail in a reply.
    pub(super) fn correct(&self, id: StreamId, tail: &mut Offset) {
        if let Some((shift, incarnation)) = self.0.get(&id) {
            tail.position += shift;
            // A fork's tail may have been an offset of its source.
            tail.incarnation = *incarnation;
        }
    }

    fn note(&mut self, staged: &Staged, landed: Option<&Landed>) {
        let shift = landed.map_or(0, |landed| landed.at.saturating_sub(staged.base()));
        if shift > 0 {
            self.0.insert(staged.stream.id, (shift, staged.record.incarnation()));
        }
    }
}

/// A batch after its commit.
#[derive(Default)]
pub(super) struct Settled {
    /// Whether each command must be judged again.
    moved: Vec<bool>,
    all_moved: bool,
    landings: Landings,
    /// Streams that moved and whose present state the store did not tell.
    pub(super) uncertain: Vec<Arc<Stream>>,
}

impl Settled {
    pub(super) fn has_moved(&self, command: usize) -> bool {
        self.all_moved || self.moved.get(command).copied().unwrap_or(false)
    }

    /// Whether every command is committed where it was judged.
    pub(super) fn is_plain(&self) -> bool {
        !self.all_moved && self.moved.is_empty()
    }

    pub(super) fn landings(&self) -> &Landings {
        &self.landings
    }
}

impl<'c> Transaction<'c> {
    /// A batch of that many commands.
    pub(super) fn new(context: Context<'c>, commands: usize, ids: &'c mut Ids, writers: &'c mut WriterTables) -> Self {
        let judged = context.storage.shared().map(|_| Judged::default());
        Self {
            context,
            staged: Vec::with_capacity(commands.min(MAX_SCANNED)),
            by_id: IdMap::default(),
            created: HashMap::new(),
            ids,
            writers,
            judged,
        }
    }

    /// Begins the judgement of the next command.
    pub(super) fn next_command(&mut self) {
        if let Some(judged) = &mut self.judged {
            judged.next_command();
        }
    }

    pub(super) fn stage(&mut self, stream: &Arc<Stream>) -> Slot {
        let index = self.index_of(stream.id);
        let slot = Slot(index.unwrap_or_else(|| self.push(Staged::new(Arc::clone(stream)))));
        self.judge_on(slot);
        slot
    }

    fn index_of(&self, id: StreamId) -> Option<usize> {
        if self.staged.len() <= MAX_SCANNED {
            return self.staged.iter().position(|staged| staged.stream.id == id);
        }
        self.by_id.get(&id).copied()
    }

    fn push(&mut self, staged: Staged) -> usize {
        let (index, id) = (self.staged.len(), staged.stream.id);
        self.staged.push(staged);
        if index == MAX_SCANNED {
            let staged = self.staged.iter().enumerate();
            self.by_id = staged.map(|(index, staged)| (staged.stream.id, index)).collect();
        } else if index > MAX_SCANNED {
            self.by_id.insert(id, index);
        }
        index
    }

    fn judge_on(&mut self, slot: Slot) {
        if let (Some(judged), Some(staged)) = (&mut self.judged, self.staged.get(slot.0)) {
            let (id, rev) = (staged.stream.id, staged.rev);
            // A deleted stream stays deleted.
            let expect = || (!staged.is_new && !staged.was_deleted).then_some(Expect::Rev { id, rev });
            judged.on(Subject::Stream(slot.0), expect);
        }
    }

    /// The stream of a name as the batch leaves it; `None` if there is none or the batch deletes it.
    pub(super) fn find(&mut self, name: &StreamName) -> Result<Option<Slot>, Unavailable> {
        let slot = match self.created.get(name) {
            Some(index) => {
                let slot = Slot(*index);
                self.judge_on(slot);
                slot
            }
            None => match self.load(name)? {
                Some(stream) => self.stage(&stream),
                None => {
                    if let Some(judged) = &mut self.judged {
                        let name = name.clone();
                        judged.on(Subject::Absent(name.clone()), || Some(Expect::Absent { name }));
                    }
                    return Ok(None);
                }
            },
        };
        let staged = self.get(slot);
        if staged.was_deleted {
            // It ended between the lookup and now. The name may have another stream.
            return Err(Unavailable::Raced);
        }
        Ok((staged.gone != Some(Gone::Deleted)).then_some(slot))
    }

    /// The stream of a name that has not ended. What ended in another thread tells nothing of its name: another
    /// server has replaced it, or the store has another history.
    fn load(&self, name: &StreamName) -> Result<Option<Arc<Stream>>, Unavailable> {
        let Context {
            storage, cache, now, ..
        } = self.context;
        for _ in 0..MAX_LOOKUPS {
            match cache.get_or_load(name, storage, now)? {
                Some(stream) if matches!(stream.gone(), Some(Gone::Deleted | Gone::Outdated)) => cache.forget(&stream),
                found => return Ok(found),
            }
        }
        Err(Unavailable::Raced)
    }

    pub(super) fn stage_new(&mut self, name: &StreamName, record: StreamRecord) -> Slot {
        let tail = record.first();
        let stored = Stored { record, tail, rev: 0 };
        let stream = Arc::new(Stream::new(name.clone(), stored, self.context.now, self.context.origin));
        let index = self.push(Staged::created(stream));
        self.created.insert(name.clone(), index);
        self.judge_on(Slot(index));
        Slot(index)
    }

    #[allow(clippy::indexing_slicing)] // slots are only made by staging, and nothing is unstaged
    pub(super) fn get(&self, slot: Slot) -> &Staged {
        &self.staged[slot.0]
    }

    #[allow(clippy::indexing_slicing)]
    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Staged {
        &mut self.staged[slot.0]
    }

    /// A stream's writers as the batch leaves them.
    pub(super) fn writers(&mut self, slot: Slot) -> Result<&Writers, Unavailable> {
        let id = self.get(slot).stream.id;
        Ok(self.writers.load(id, self.context.storage, self.context.now)?)
    }

    /// Where a producer stands.
    pub(super) fn producer(&mut self, slot: Slot, key: &str) -> Result<Option<ProducerState>, Unavailable> {
        Ok(match self.progress(slot, key)? {
            Some(Progress::Producer(state)) => Some(state),
            Some(Progress::Sequence(_)) | None => None,
        })
    }

    /// A scope's last `Stream-Seq`.
    pub(super) fn sequence(&mut self, slot: Slot, key: &str) -> Result<Option<String>, Unavailable> {
        Ok(match self.progress(slot, key)? {
            Some(Progress::Sequence(last)) => Some(last.into()),
            Some(Progress::Producer(_)) | None => None,
        })
    }

    fn progress(&mut self, slot: Slot, key: &str) -> Result<Option<Progress>, Unavailable> {
        let progress = self.writers(slot)?.progress(key).cloned();
        self.expect_writer(slot, key, progress.clone());
        Ok(progress)
    }

    /// Notes where a writer stood when a command was judged on it.
    fn expect_writer(&mut self, slot: Slot, key: &str, progress: Option<Progress>) {
        let staged = self.get(slot);
        // A writer that the batch itself has moved is where the batch has put it.
        if !staged.is_new
            && !staged.has_moved_writer(key)
            && let id = staged.stream.id
            && let Some(judged) = &mut self.judged
        {
            let key = key.to_owned();
            judged.expect(slot.0, Expect::Writer { id, key, progress });
        }
    }

    /// Notes where a writer stands now. The stream's writers have been loaded.
    pub(super) fn set_writer(&mut self, slot: Slot, key: String, progress: Progress) {
        let used_at = self.context.now;
        let state = WriterState { progress, used_at };
        let limit = self.context.config.limits.max_producers_per_stream;
        let id = self.get(slot).stream.id;
        let evicted = self.writers.set(id, &key, state.clone(), limit);
        self.get_mut(slot).set_writer(key, Some(state));
        self.evict(slot, evicted);
    }

    /// Another server may have used an evicted writer since: then it is not the one to evict.
    fn evict(&mut self, slot: Slot, evicted: Vec<Evicted>) {
        for Evicted { key, progress } in evicted {
            self.expect_writer(slot, &key, Some(progress));
            self.get_mut(slot).set_writer(key, None);
        }
    }

    /// Evicts the writers of a stream that were unused since `before`.
    pub(super) fn evict_unused_writers(&mut self, slot: Slot, before: Millis) -> Result<(), Unavailable> {
        self.writers(slot)?;
        let id = self.get(slot).stream.id;
        let evicted = self.writers.evict_unused(id, before);
        self.evict(slot, evicted);
        Ok(())
    }

    /// See [`Ids::next`].
    pub(super) fn next_id(&mut self, other: StreamId) -> Result<StreamId, Unavailable> {
        self.ids.next(self.context.storage, other)
    }

    /// How many streams there will be.
    pub(super) fn streams(&self) -> u64 {
        let created = self
            .staged
            .iter()
            .filter(|staged| staged.is_new && staged.gone.is_none());
        self.context.storage.usage().streams + created.count() as u64
    }

    /// The changes of the batch, in groups that hold together; without expectations, and as one
    /// group, for a store that is not shared.
    pub(super) fn groups(&self) -> Vec<Group> {
        match &self.judged {
            Some(judged) => self.separate_groups(judged.partition()),
            None => {
                let mut group = Group::from(Vec::with_capacity(self.staged.len()));
                for staged in &self.staged {
                    staged.changes(&mut group.changes);
                }
                if group.changes.is_empty() {
                    Vec::new()
                } else {
                    vec![group]
                }
            }
        }
    }

    fn separate_groups(&self, partition: Partition) -> Vec<Group> {
        let with = |expects| Group {
            expects,
            changes: Vec::new(),
        };
        let mut groups: Vec<Group> = partition.expects.into_iter().map(with).collect();
        for (index, staged) in self.staged.iter().enumerate() {
            let group = partition.streams.get(&index).copied();
            if let Some(group) = group.and_then(|group| groups.get_mut(group)) {
                staged.changes(&mut group.changes);
                group.expects.extend(staged.room());
            }
        }
        groups
    }

    /// Drops the batch. Returns the streams it was about, also those it would have created.
    pub(super) fn into_streams(self) -> Vec<Arc<Stream>> {
        for staged in &self.staged {
            self.writers.drop_table(staged.stream.id);
        }
        self.staged.into_iter().map(|staged| staged.stream).collect()
    }

    /// Publishes what was committed, and takes over what moved.
    pub(super) fn settle(self, verdicts: Verdicts) -> Settled {
        let observers = (self.context.cache, self.context.watch);
        let verdicts = match verdicts {
            Verdicts::Each(verdicts) => verdicts,
            Verdicts::AllCommitted => {
                for staged in self.staged {
                    staged.publish(None, observers, self.writers);
                }
                return Settled::default();
            }
        };
        let partition = self.judged.as_ref().map(Judged::partition);
        let has_moved =
            |group: &Option<usize>| matches!(group.and_then(|group| verdicts.get(group)), Some(Verdict::Moved(_)));
        let mut settled = Settled::default();
        match &partition {
            Some(partition) => settled.moved = partition.commands.iter().map(has_moved).collect(),
            None => settled.all_moved = has_moved(&Some(0)),
        }
        for (index, staged) in self.staged.into_iter().enumerate() {
            let group = match &partition {
                Some(partition) => partition.streams.get(&index).copied(),
                None => Some(0),
            };
            match group.and_then(|group| verdicts.get(group)) {
                None => {}
                Some(Verdict::Committed(landed)) => {
                    let landed = landed.iter().find(|landed| landed.id == staged.stream.id);
                    settled.landings.note(&staged, landed);
                    staged.publish(landed, observers, self.writers);
                }
                Some(Verdict::Moved(_)) if staged.is_new => {
                    self.writers.drop_table(staged.stream.id);
                    // The server that has created it may have ended before it told its own watcher.
                    self.context.watch.published(&staged.stream);
                    // An earlier life of the name may have a greater id.
                    self.ids.renew();
                }
                Some(Verdict::Moved(now)) => {
                    self.writers.drop_table(staged.stream.id);
                    let stream = staged.stream;
                    match now.iter().find(|(id, _)| *id == stream.id) {
                        Some((_, stored)) => {
                            self.context.cache.reset(&stream, stored.clone());
                            // As above.
                            self.context.watch.published(&stream);
                        }
                        None => settled.uncertain.push(stream),
                    }
                }
            }
        }
        settled
    }
}
