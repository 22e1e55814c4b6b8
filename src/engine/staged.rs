//! A stream as a batch leaves it.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    cache::StreamCache,
    expiry::Lifetimes,
    snapshot::{Gone, Snapshot},
    stream::{Stream, Update},
    watch::Watch,
    writers::WriterTables,
};
use crate::{
    protocol::{Framing, Offset, frame},
    storage::{Change, Expect, Landed, Position, Retention, StreamRecord, WriterState},
};

/// A stream as the batch leaves it.
pub(super) struct Staged {
    pub(super) stream: Arc<Stream>,
    pub(super) record: Arc<StreamRecord>,
    /// The revision of the record before the batch.
    pub(super) rev: u64,
    pub(super) tail: Position,
    pub(super) gone: Option<Gone>,
    pub(super) is_new: bool,
    base: Position,
    /// The appends, each with its size in the store.
    appends: Vec<(usize, Bytes)>,
    writers: HashMap<String, Option<WriterState>>,
    record_changed: bool,
    /// It was already deleted before the batch.
    pub(super) was_deleted: bool,
    /// By how much further back the appends could land and still fit.
    headroom: u64,
    /// The record's change holds for this tail only.
    needs_tail: bool,
}

impl Staged {
    pub(super) fn new(stream: Arc<Stream>) -> Self {
        let (Snapshot { record, tail, gone, .. }, rev) = stream.snapshot_with_rev();
        Self {
            rev,
            stream,
            record,
            tail,
            gone,
            is_new: false,
            base: tail,
            appends: Vec::new(),
            writers: HashMap::new(),
            record_changed: false,
            was_deleted: matches!(gone, Some(Gone::Deleted | Gone::Outdated)),
            headroom: u64::MAX,
            needs_tail: false,
        }
    }

    /// A stream that the batch creates.
    pub(super) fn created(stream: Arc<Stream>) -> Self {
        Self {
            is_new: true,
            record_changed: true,
            ..Self::new(stream)
        }
    }

    /// The tail before the batch: what lies below can be read from the store.
    pub(super) fn base(&self) -> Position {
        self.base
    }

    pub(super) fn lifetimes(&self) -> Lifetimes {
        self.stream.origin().lifetimes
    }

    /// The tail as an offset.
    pub(super) fn offset(&self) -> Offset {
        self.record.offset(self.tail)
    }

    /// Appends content in its stored form, without its frame.
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
        let append = (usize::try_from(stored).unwrap_or(usize::MAX), content);
        if self.appends.is_empty() {
            // Without room for more: most batches have one append to a stream.
            self.appends = vec![append];
        } else {
            self.appends.push(append);
        }
    }

    /// The appends must not land more than `headroom` further back.
    pub(super) fn limit_headroom(&mut self, headroom: u64) {
        self.headroom = self.headroom.min(headroom);
    }

    /// A change of the record holds only if nobody else has appended meanwhile.
    pub(super) fn require_tail(&mut self) {
        self.needs_tail = true;
    }

    pub(super) fn record_mut(&mut self) -> &mut StreamRecord {
        self.record_changed = true;
        Arc::make_mut(&mut self.record)
    }

    pub(super) fn retention_mut(&mut self) -> &mut Retention {
        self.record_mut().retention.get_or_insert_default()
    }

    pub(super) fn set_writer(&mut self, key: String, state: Option<WriterState>) {
        self.writers.insert(key, state);
    }

    pub(super) fn has_moved_writer(&self, key: &str) -> bool {
        self.writers.contains_key(key)
    }

    pub(super) fn soft_delete(&mut self) {
        let record = self.record_mut();
        record.soft_deleted = true;
        record.due_at = None;
        self.gone = Some(Gone::SoftDeleted);
    }

    /// Stores when the stream was last used, if that has not been stored yet.
    pub(super) fn flush_access_time(&mut self) {
        let touched_at = self.stream.touched_at();
        let is_news = match self.lifetimes().are_shared() {
            true => self.lifetimes().needs_flush(&self.record, touched_at),
            false => self.record.touched_at != touched_at,
        };
        if is_news {
            self.record_mut().touched_at = touched_at;
        }
        self.update_due();
    }

    /// Schedules the sweeper's next look.
    pub(super) fn update_due(&mut self) {
        let due_at = self.lifetimes().due_at(&self.record);
        if self.record.due_at != due_at {
            self.record_mut().due_at = due_at;
        }
    }

    /// The appends in their stored form.
    fn data(&self) -> Vec<Bytes> {
        let contents = self.appends.iter().map(|(_, content)| content);
        if !self.record.framing.is_framed() {
            return contents.cloned().collect();
        }
        let mut pieces = Vec::with_capacity(self.appends.len());
        contents.for_each(|content| frame::push(&mut pieces, content));
        pieces
    }

    pub(super) fn changes(&self, changes: &mut Vec<Change>) {
        let (name, id) = (&self.stream.name, self.stream.id);
        let put = || Change::Put {
            name: name.clone(),
            record: StreamRecord::clone(&self.record),
        };
        if matches!(self.gone, Some(Gone::Deleted | Gone::Outdated)) {
            if self.is_new && self.lifetimes().are_shared() {
                // The other servers' ids for this name must be greater.
                changes.extend([put(), Change::Remove { name: name.clone(), id }]);
            } else if !self.is_new && !self.was_deleted {
                changes.push(Change::Remove { name: name.clone(), id });
            }
            return;
        }
        if self.record_changed {
            changes.push(put());
        }
        if !self.appends.is_empty() {
            changes.push(Change::Append {
                id,
                at: self.base,
                data: self.data(),
            });
        }
        for (key, state) in &self.writers {
            changes.push(Change::Writer {
                id,
                key: key.clone(),
                state: state.clone(),
            });
        }
    }

    /// How far back the appends may land. Those whose record changes as well must land where they
    /// were judged, because records hold positions.
    pub(super) fn room(&self) -> Option<Expect> {
        let floats = !self.appends.is_empty() && !self.record_changed;
        let is_bound = self.appends.is_empty() && self.record_changed && self.needs_tail && !self.is_new;
        let headroom = match self.gone {
            None if floats => self.headroom,
            None if is_bound => 0,
            _ => return None,
        };
        Some(Expect::Room {
            id: self.stream.id,
            at_most: self.base.saturating_add(headroom),
        })
    }

    /// Publishes the stream as it was committed. `landed`: where, if the store says.
    pub(super) fn publish(
        self,
        landed: Option<&Landed>,
        (cache, watch): (&StreamCache, &Watch),
        writers: &mut WriterTables,
    ) {
        let is_deleted = self.gone == Some(Gone::Deleted);
        let is_unchanged = !self.record_changed && self.appends.is_empty() && self.writers.is_empty();
        let base = landed.map_or(self.base, |landed| landed.at);
        let is_news = is_deleted || !self.appends.is_empty();
        if is_unchanged && !is_deleted && base == self.base {
            return;
        }
        self.stream.publish(Update {
            record: self.record,
            rev: landed.map_or(self.rev, |landed| landed.rev),
            base,
            tail: base + (self.tail - self.base),
            gone: self.gone,
            appends: self.appends,
        });
        if is_news {
            watch.published(&self.stream);
        }
        if is_deleted {
            writers.drop_table(self.stream.id);
            cache.remove(&self.stream);
        } else if self.is_new {
            cache.insert_committed(self.stream);
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
