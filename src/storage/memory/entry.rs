//! What the memory store keeps of one stream, packed: most streams are idle and plain, and
//! there may be very many of them.

use std::{collections::HashMap, sync::Arc};

use crate::{
    protocol::{Framing, Lifetime, Millis, ProducerStamp},
    storage::{Fork, Life, Position, Retention, StreamId, StreamRecord, WriterState, segments::Segments},
};

/// One stream.
#[derive(Debug)]
pub(super) struct Entry {
    created_at: Millis,
    content_type: Symbol,
    closed: bool,
    framing: Framing,
    timed: Option<Box<Timed>>,
    rare: Option<Box<Rare>>,
    segments: Option<Box<Segments>>,
}

/// What streams have that end by themselves, and forks.
#[derive(Debug, PartialEq, Eq)]
struct Timed {
    start: Position,
    touched_at: Millis,
    lifetime: Lifetime,
    due_at: Option<Millis>,
}

impl Timed {
    /// What a stream has that lives for ever from 0 on.
    fn plain(created_at: Millis) -> Self {
        Self {
            start: 0,
            touched_at: created_at,
            lifetime: Lifetime::Unlimited,
            due_at: None,
        }
    }
}

/// What most streams do not have.
#[derive(Debug, Default)]
struct Rare {
    /// When the table of content types was full.
    content_type: Option<String>,
    closed_by: Option<ProducerStamp>,
    stream_seq: Option<String>,
    fork: Option<Box<Fork>>,
    forks: u32,
    soft_deleted: bool,
    lives: Vec<Life>,
    renewed: Option<u64>,
    retention: Option<Box<Retention>>,
    writers: HashMap<Box<str>, WriterState>,
}

impl Rare {
    fn is_empty(&self) -> bool {
        self.content_type.is_none()
            && self.closed_by.is_none()
            && self.stream_seq.is_none()
            && self.fork.is_none()
            && self.forks == 0
            && !self.soft_deleted
            && self.lives.is_empty()
            && self.renewed.is_none()
            && self.retention.is_none()
            && self.writers.is_empty()
    }
}

impl Entry {
    pub(super) fn new(record: &StreamRecord, types: &mut ContentTypes) -> Self {
        let mut entry = Self {
            created_at: 0,
            content_type: Symbol(0),
            closed: false,
            framing: record.framing,
            timed: None,
            rare: None,
            segments: None,
        };
        entry.replace(record, types);
        entry
    }

    /// Takes over a record; bytes and writers stay.
    pub(super) fn replace(&mut self, record: &StreamRecord, types: &mut ContentTypes) {
        let symbol = types.symbol(&record.content_type);
        let rare = Rare {
            content_type: symbol.is_none().then(|| record.content_type.clone()),
            closed_by: record.closed_by.clone(),
            stream_seq: record.stream_seq.clone(),
            fork: record.fork.clone(),
            forks: record.forks,
            soft_deleted: record.soft_deleted,
            lives: record.lives.clone(),
            renewed: record.renewed,
            retention: record.retention.clone(),
            writers: self.rare.take().map(|rare| rare.writers).unwrap_or_default(),
        };
        let timed = Timed {
            start: record.start,
            touched_at: record.touched_at,
            lifetime: record.lifetime,
            due_at: record.due_at,
        };
        self.created_at = record.created_at;
        self.timed = (timed != Timed::plain(record.created_at)).then(|| Box::new(timed));
        self.content_type = symbol.unwrap_or(Symbol(0));
        self.closed = record.closed;
        self.framing = record.framing;
        self.rare = (!rare.is_empty()).then(|| Box::new(rare));
    }

    pub(super) fn record(&self, id: StreamId, types: &ContentTypes) -> StreamRecord {
        let rare = self.rare.as_deref();
        let plain = Timed::plain(self.created_at);
        let timed = self.timed.as_deref().unwrap_or(&plain);
        StreamRecord {
            id,
            start: timed.start,
            content_type: rare
                .and_then(|rare| rare.content_type.clone())
                .unwrap_or_else(|| types.text(self.content_type).to_owned()),
            created_at: self.created_at,
            lifetime: timed.lifetime,
            touched_at: timed.touched_at,
            due_at: timed.due_at,
            closed: self.closed,
            closed_by: rare.and_then(|rare| rare.closed_by.clone()),
            stream_seq: rare.and_then(|rare| rare.stream_seq.clone()),
            fork: rare.and_then(|rare| rare.fork.clone()),
            forks: rare.map_or(0, |rare| rare.forks),
            soft_deleted: rare.is_some_and(|rare| rare.soft_deleted),
            lives: rare.map(|rare| rare.lives.clone()).unwrap_or_default(),
            renewed: rare.and_then(|rare| rare.renewed),
            framing: self.framing,
            retention: rare.and_then(|rare| rare.retention.clone()),
        }
    }

    pub(super) fn due_at(&self) -> Option<Millis> {
        self.timed.as_ref()?.due_at
    }

    /// See [`StreamRecord::first`].
    pub(super) fn first(&self) -> Position {
        let past = self.rare.as_ref().and_then(|rare| rare.retention.as_ref());
        let start = self.timed.as_ref().map_or(0, |timed| timed.start);
        start.max(past.map_or(0, |past| past.given_up))
    }

    pub(super) fn tail(&self) -> Position {
        match &self.segments {
            Some(segments) => segments.tail(),
            None => self.first(),
        }
    }

    /// How many bytes it keeps.
    pub(super) fn len(&self) -> u64 {
        self.tail().saturating_sub(self.first())
    }

    /// Lets go of the bytes that are not kept.
    pub(super) fn forget_past(&mut self) {
        let first = self.first();
        if let Some(segments) = &mut self.segments {
            segments.forget_below(first);
        }
    }

    pub(super) fn segments(&self) -> Option<&Segments> {
        self.segments.as_deref()
    }

    pub(super) fn segments_mut(&mut self) -> &mut Segments {
        let first = self.first();
        self.segments
            .get_or_insert_with(|| Box::new(Segments::starting_at(first)))
    }

    pub(super) fn writer(&self, key: &str) -> Option<&WriterState> {
        self.rare.as_ref()?.writers.get(key)
    }

    /// Sets where a writer stands, or forgets it. Returns where it stood.
    pub(super) fn set_writer(&mut self, key: &str, state: Option<WriterState>) -> Option<WriterState> {
        let Some(state) = state else {
            return self.rare.as_mut()?.writers.remove(key);
        };
        let rare = self.rare.get_or_insert_default();
        match rare.writers.get_mut(key) {
            Some(known) => Some(std::mem::replace(known, state)),
            None => rare.writers.insert(key.into(), state),
        }
    }

    pub(super) fn writers(&self) -> impl Iterator<Item = (&str, &WriterState)> {
        let writers = self.rare.iter().flat_map(|rare| &rare.writers);
        writers.map(|(key, state)| (&**key, state))
    }

    /// The bytes that its writers occupy.
    pub(super) fn writers_size(&self) -> u64 {
        self.writers().map(|(key, state)| state.size(key)).sum()
    }
}

/// A content type's number in [`ContentTypes`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol(u16);

/// The content types in use, each kept once. Streams have few; whoever makes up more than
/// the table holds pays for them per stream.
#[derive(Debug, Default)]
pub(super) struct ContentTypes {
    texts: Vec<Arc<str>>,
    symbols: HashMap<Arc<str>, u16>,
}

impl ContentTypes {
    const MAX: usize = 1024;

    fn symbol(&mut self, text: &str) -> Option<Symbol> {
        if let Some(symbol) = self.symbols.get(text) {
            return Some(Symbol(*symbol));
        }
        if self.texts.len() >= Self::MAX {
            return None;
        }
        let symbol = u16::try_from(self.texts.len()).ok()?;
        let text: Arc<str> = text.into();
        self.texts.push(Arc::clone(&text));
        self.symbols.insert(text, symbol);
        Some(Symbol(symbol))
    }

    fn text(&self, symbol: Symbol) -> &str {
        self.texts.get(usize::from(symbol.0)).map_or("", AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_small() {
        assert!(size_of::<Entry>() <= 40, "{}", size_of::<Entry>());
    }
}
