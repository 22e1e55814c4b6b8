//! A batch being put together: commands are judged against what the batch has staged so
//! far, and nothing is published before the store has taken all of it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    cache::StreamCache,
    errors::Unavailable,
    request::{Command, Outcome},
    stream::{Gone, Snapshot, Stream, Update},
    writers::{WriterTables, Writers},
};
use crate::{
    protocol::{Framing, Millis, Offset, StreamName, frame},
    storage::{Batch, Change, Position, Progress, Storage, Stored, StreamId, StreamRecord, WriterState},
};

/// What the committer works with.
pub(super) struct Context<'c> {
    pub(super) storage: &'c dyn Storage,
    pub(super) cache: &'c StreamCache,
    pub(super) limits: &'c super::Limits,
    pub(super) now: Millis,
}

/// Streams as the batch leaves them, in the order in which it first touched them.
pub(super) struct Transaction<'c> {
    pub(super) context: Context<'c>,
    staged: Vec<Staged>,
    by_id: HashMap<StreamId, usize>,
    created: HashMap<StreamName, usize>,
    next_id: &'c mut super::committer::Ids,
    writers: &'c mut WriterTables,
}

/// Where a staged stream stands in the batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// A stream as the batch leaves it.
pub(super) struct Staged {
    pub(super) stream: Arc<Stream>,
    pub(super) record: Arc<StreamRecord>,
    pub(super) tail: Position,
    pub(super) gone: Option<Gone>,
    base: Position,
    appends: Vec<(usize, Bytes)>,
    writers: HashMap<String, Option<WriterState>>,
    new: bool,
    record_changed: bool,
    /// Had gone before the batch.
    gone_before: bool,
}

impl Staged {
    fn of(stream: Arc<Stream>) -> Self {
        let Snapshot { record, tail, gone } = stream.snapshot();
        Self {
            stream,
            record,
            tail,
            gone,
            base: tail,
            appends: vec![],
            writers: HashMap::new(),
            new: false,
            record_changed: false,
            gone_before: gone == Some(Gone::Deleted),
        }
    }

    /// The tail before the batch: what lies below can be read from the store.
    pub(super) fn base(&self) -> Position {
        self.base
    }

    /// The tail as an offset.
    pub(super) fn offset(&self) -> Offset {
        self.record.offset(self.tail)
    }

    /// Adds content at the end, in the form in which it is stored but for its frame.
    pub(super) fn append(&mut self, content: Bytes) {
        if content.is_empty() {
            return;
        }
        let framing = self.record.framing.covering(content.len() as u64);
        if framing != self.record.framing {
            self.record_mut().framing = framing;
        }
        let stored = stored_len(framing, content.len() as u64);
        self.tail += stored;
        self.appends
            .push((usize::try_from(stored).unwrap_or(usize::MAX), content));
    }

    /// The appends in their stored form.
    fn data(&self) -> Vec<Bytes> {
        let contents = self.appends.iter().map(|(_, content)| content);
        if !self.record.framing.is_framed() {
            return contents.cloned().collect();
        }
        let pieces = contents.flat_map(frame::pieces);
        pieces.filter(|piece| !piece.is_empty()).collect()
    }

    pub(super) fn record_mut(&mut self) -> &mut StreamRecord {
        self.record_changed = true;
        Arc::make_mut(&mut self.record)
    }

    pub(super) fn soft_delete(&mut self) {
        self.record_mut().soft_deleted = true;
        self.record_mut().due_at = None;
        self.gone = Some(Gone::SoftDeleted);
    }

    fn changes(&self, batch: &mut Batch) {
        let (name, id) = (&self.stream.name, self.stream.id);
        if self.gone == Some(Gone::Deleted) {
            if !self.new && !self.gone_before {
                batch.push(Change::Remove { name: name.clone(), id });
            }
            return;
        }
        if self.record_changed {
            batch.push(Change::Put {
                name: name.clone(),
                record: StreamRecord::clone(&self.record),
            });
        }
        if !self.appends.is_empty() {
            batch.push(Change::Append {
                id,
                at: self.base,
                data: self.data(),
            });
        }
        for (key, state) in &self.writers {
            batch.push(Change::Writer {
                id,
                key: key.clone(),
                state: state.clone(),
            });
        }
    }
}

/// How many bytes of a stream an append of `len` bytes takes.
pub(super) fn stored_len(framing: Framing, len: u64) -> u64 {
    match framing.is_framed() && len > 0 {
        true => len + frame::header_len(len) as u64,
        false => len,
    }
}

impl<'c> Transaction<'c> {
    pub(super) fn new(
        context: Context<'c>,
        next_id: &'c mut super::committer::Ids,
        writers: &'c mut WriterTables,
    ) -> Self {
        Self {
            context,
            staged: Vec::new(),
            by_id: HashMap::new(),
            created: HashMap::new(),
            next_id,
            writers,
        }
    }

    /// Judges a command and stages what it changes. The outcome holds once the batch is committed.
    pub(super) fn apply(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Append { stream, append } => Outcome::Appended(super::append::stage(self, stream, append)),
            Command::Create { name, create } => Outcome::Created(super::create::stage(self, name, create)),
            Command::Delete { name } => Outcome::Deleted(super::delete::stage(self, name)),
            Command::Expire { name } => done(super::expiry::stage(self, name)),
            Command::Touch { stream } => {
                super::expiry::stage_touch(self, stream);
                Outcome::Done
            }
        }
    }

    pub(super) fn stage(&mut self, stream: &Arc<Stream>) -> Slot {
        let staged = &mut self.staged;
        Slot(*self.by_id.entry(stream.id).or_insert_with(|| {
            staged.push(Staged::of(Arc::clone(stream)));
            staged.len() - 1
        }))
    }

    /// The stream of a name as the batch leaves it; none if there is none or it was deleted.
    pub(super) fn find(&mut self, name: &StreamName) -> Result<Option<Slot>, Unavailable> {
        let slot = match self.created.get(name) {
            Some(index) => Slot(*index),
            None => match self
                .context
                .cache
                .get_or_load(name, self.context.storage, self.context.now)?
            {
                Some(stream) => self.stage(&stream),
                None => return Ok(None),
            },
        };
        Ok((self.get(slot).gone != Some(Gone::Deleted)).then_some(slot))
    }

    pub(super) fn stage_new(&mut self, name: &StreamName, record: StreamRecord) -> Slot {
        let tail = record.first();
        let stored = Stored {
            record: record.clone(),
            tail,
        };
        let stream = Arc::new(Stream::new(name.clone(), stored, self.context.now));
        let slot = self.stage(&stream);
        let staged = self.get_mut(slot);
        staged.new = true;
        staged.record_changed = true;
        self.created.insert(name.clone(), slot.0);
        slot
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

    /// Notes where a writer stands now. The stream's writers were looked at before.
    pub(super) fn set_writer(&mut self, slot: Slot, key: String, progress: Progress) {
        let used_at = self.context.now;
        let state = WriterState { progress, used_at };
        let limit = self.context.limits.max_producers_per_stream;
        let id = self.get(slot).stream.id;
        let evicted = self.writers.set(id, &key, state.clone(), limit);
        let staged = self.get_mut(slot);
        staged.writers.insert(key, Some(state));
        staged.writers.extend(evicted.into_iter().map(|key| (key, None)));
    }

    /// Forgets the writers of a stream that were unused since `before`.
    pub(super) fn forget_unused_writers(&mut self, slot: Slot, before: Millis) -> Result<(), Unavailable> {
        self.writers(slot)?;
        let id = self.get(slot).stream.id;
        let forgotten = self.writers.forget_unused(id, before);
        let staged = self.get_mut(slot);
        staged.writers.extend(forgotten.into_iter().map(|key| (key, None)));
        Ok(())
    }

    /// See [`super::committer::Ids::next`].
    pub(super) fn next_id(&mut self, other: StreamId) -> Result<StreamId, Unavailable> {
        self.next_id.next(self.context.storage, other)
    }

    /// How many streams there will be.
    pub(super) fn streams(&self) -> u64 {
        let created = self
            .staged
            .iter()
            .filter(|staged| staged.new && staged.gone.is_none())
            .count() as u64;
        self.context.storage.usage().streams + created
    }

    pub(super) fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        for staged in &self.staged {
            staged.changes(&mut batch);
        }
        batch
    }

    /// Gives up the batch. Returns the streams that it was about, besides those that it would have
    /// created.
    pub(super) fn into_streams(self) -> Vec<Arc<Stream>> {
        for staged in &self.staged {
            self.writers.drop_table(staged.stream.id);
        }
        self.staged
            .into_iter()
            .filter(|staged| !staged.new)
            .map(|staged| staged.stream)
            .collect()
    }

    /// Shows everybody what was committed.
    pub(super) fn publish(self) {
        let cache = self.context.cache;
        for staged in self.staged {
            let Staged {
                stream,
                record,
                tail,
                gone,
                appends,
                writers,
                new,
                record_changed,
                ..
            } = staged;
            let unchanged = !record_changed && appends.is_empty() && writers.is_empty() && gone != Some(Gone::Deleted);
            if unchanged {
                continue;
            }
            stream.publish(Update {
                record,
                tail,
                gone,
                appends,
            });
            if gone == Some(Gone::Deleted) {
                self.writers.drop_table(stream.id);
                cache.remove(&stream);
            } else if new {
                cache.insert_committed(stream);
            }
        }
    }
}

fn done(result: Result<(), Unavailable>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(unavailable) => Outcome::Unavailable(unavailable),
    }
}
