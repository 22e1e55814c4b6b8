//! A stream in the memory store. It is small, because there may be millions of idle ones.

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
    expiry: Option<Box<Expiry>>,
    cold: Option<Box<ColdFields>>,
    segments: Option<Box<Segments>>,
}

/// Fields of streams that expire, and of forks.
#[derive(Debug, PartialEq, Eq)]
struct Expiry {
    start: Position,
    touched_at: Millis,
    lifetime: Lifetime,
    due_at: Option<Millis>,
}

impl Expiry {
    /// The values of a stream that begins at 0 and never expires.
    fn never(created_at: Millis) -> Self {
        Self {
            start: 0,
            touched_at: created_at,
            lifetime: Lifetime::Unlimited,
            due_at: None,
        }
    }
}

/// Fields that most streams do not use.
#[derive(Debug, Default)]
struct ColdFields {
    /// Set if the table of content types was full.
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

impl ColdFields {
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
            expiry: None,
            cold: None,
            segments: None,
        };
        entry.replace(record, types);
        entry
    }

    /// Replaces the record. Bytes and writers stay.
    pub(super) fn replace(&mut self, record: &StreamRecord, types: &mut ContentTypes) {
        let symbol = types.symbol(&record.content_type);
        let cold = ColdFields {
            content_type: symbol.is_none().then(|| record.content_type.clone()),
            closed_by: record.closed_by.clone(),
            stream_seq: record.stream_seq.clone(),
            fork: record.fork.clone(),
            forks: record.forks,
            soft_deleted: record.soft_deleted,
            lives: record.lives.clone(),
            renewed: record.renewed,
            retention: record.retention.clone(),
            writers: self.cold.take().map(|cold| cold.writers).unwrap_or_default(),
        };
        let expiry = Expiry {
            start: record.start,
            touched_at: record.touched_at,
            lifetime: record.lifetime,
            due_at: record.due_at,
        };
        self.created_at = record.created_at;
        self.expiry = (expiry != Expiry::never(record.created_at)).then(|| Box::new(expiry));
        self.content_type = symbol.unwrap_or(Symbol(0));
        self.closed = record.closed;
        self.framing = record.framing;
        self.cold = (!cold.is_empty()).then(|| Box::new(cold));
    }

    pub(super) fn record(&self, id: StreamId, types: &ContentTypes) -> StreamRecord {
        let cold = self.cold.as_deref();
        let never = Expiry::never(self.created_at);
        let expiry = self.expiry.as_deref().unwrap_or(&never);
        StreamRecord {
            id,
            start: expiry.start,
            content_type: cold
                .and_then(|cold| cold.content_type.clone())
                .unwrap_or_else(|| types.text(self.content_type).to_owned()),
            created_at: self.created_at,
            lifetime: expiry.lifetime,
            touched_at: expiry.touched_at,
            due_at: expiry.due_at,
            closed: self.closed,
            closed_by: cold.and_then(|cold| cold.closed_by.clone()),
            stream_seq: cold.and_then(|cold| cold.stream_seq.clone()),
            fork: cold.and_then(|cold| cold.fork.clone()),
            forks: cold.map_or(0, |cold| cold.forks),
            soft_deleted: cold.is_some_and(|cold| cold.soft_deleted),
            lives: cold.map(|cold| cold.lives.clone()).unwrap_or_default(),
            renewed: cold.and_then(|cold| cold.renewed),
            framing: self.framing,
            retention: cold.and_then(|cold| cold.retention.clone()),
        }
    }

    pub(super) fn due_at(&self) -> Option<Millis> {
        self.expiry.as_ref()?.due_at
    }

    /// See [`StreamRecord::first`].
    pub(super) fn first(&self) -> Position {
        let retention = self.cold.as_ref().and_then(|cold| cold.retention.as_ref());
        let start = self.expiry.as_ref().map_or(0, |expiry| expiry.start);
        start.max(retention.map_or(0, |retention| retention.given_up))
    }

    pub(super) fn tail(&self) -> Position {
        match &self.segments {
            Some(segments) => segments.tail(),
            None => self.first(),
        }
    }

    /// The number of bytes that it keeps.
    pub(super) fn len(&self) -> u64 {
        self.tail().saturating_sub(self.first())
    }

    /// Frees the bytes below [`Self::first`].
    pub(super) fn trim(&mut self) {
        let first = self.first();
        if let Some(segments) = &mut self.segments {
            segments.trim_below(first);
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
        self.cold.as_ref()?.writers.get(key)
    }

    /// Sets or removes the state of a writer and returns the previous one.
    pub(super) fn set_writer(&mut self, key: &str, state: Option<WriterState>) -> Option<WriterState> {
        let Some(state) = state else {
            return self.cold.as_mut()?.writers.remove(key);
        };
        let cold = self.cold.get_or_insert_default();
        match cold.writers.get_mut(key) {
            Some(known) => Some(std::mem::replace(known, state)),
            None => cold.writers.insert(key.into(), state),
        }
    }

    pub(super) fn writers(&self) -> impl Iterator<Item = (&str, &WriterState)> {
        let writers = self.cold.iter().flat_map(|cold| &cold.writers);
        writers.map(|(key, state)| (&**key, state))
    }

    /// The bytes that its writers occupy.
    pub(super) fn writers_size(&self) -> u64 {
        self.writers().map(|(key, state)| state.size(key)).sum()
    }
}

/// The index of a content type in [`ContentTypes`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol(u16);

/// Interned content types. Streams use few of them; when the table is full, a stream stores its
/// own.
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
