//! A minimal store, to compare others with.

use std::collections::HashMap;

use super::{append, name, put, record, remove};
use crate::{
    random::Random,
    storage::{Change, ProducerState, Progress, Retention, Storage, StorageError, StreamRecord, WriterState},
};

/// A stream's record, bytes and writers.
type Kept = (StreamRecord, Vec<u8>, HashMap<String, WriterState>);

/// A model of the contents of a store.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Model {
    pub(crate) streams: HashMap<String, Kept>,
}

impl Model {
    pub(crate) fn check(&self, store: &impl Storage) {
        self.compare(store).unwrap();
    }

    /// Describes the first difference between the model and a store.
    pub(crate) fn compare(&self, store: &dyn Storage) -> Result<(), String> {
        let same = |what: &str, same: bool| if same { Ok(()) } else { Err(what.to_owned()) };
        let failed = |error: StorageError| format!("{error:?}");
        for (text, (record, bytes, writers)) in &self.streams {
            let stored = store.get(&name(text)).map_err(failed)?;
            let stored = stored.ok_or_else(|| format!("`{text}` is lost"))?;
            same(&format!("the record of `{text}`"), stored.record == *record)?;
            let tail = record.first() + bytes.len() as u64;
            same(
                &format!("the tail of `{text}`, {} for {tail}", stored.tail),
                stored.tail == tail,
            )?;
            let read = store.read(record.id, record.first()..tail).map_err(failed)?;
            same(&format!("the bytes of `{text}`"), read == *bytes)?;
            let found = store.writers(record.id).map_err(failed)?;
            same(
                &format!("the writers of `{text}`: {found:?}"),
                found.into_iter().collect::<HashMap<_, _>>() == *writers,
            )?;
        }
        let mut names: Vec<&str> = self.streams.keys().map(String::as_str).collect();
        names.sort_unstable();
        let listed = store.list("", None, usize::MAX).map_err(failed)?;
        let listed: Vec<_> = listed.iter().map(|(name, _)| name.as_str()).collect();
        same(&format!("the names, {listed:?} for {names:?}"), listed == names)?;
        let mut due: Vec<(u64, &str)> = self
            .streams
            .iter()
            .filter_map(|(text, (record, ..))| Some((record.due_at?, text.as_str())))
            .collect();
        due.sort_unstable();
        let found = store.due(u64::MAX, usize::MAX).map_err(failed)?;
        let found = found.iter().map(|name| name.as_str());
        same("what is due", found.eq(due.iter().map(|(_, text)| *text)))?;
        let bytes: u64 = self.streams.values().map(|(_, bytes, _)| bytes.len() as u64).sum();
        let (usage, streams) = (store.usage(), self.streams.len() as u64);
        same(
            &format!("{usage:?} for {streams} and {bytes}"),
            usage.streams == streams && usage.bytes == bytes,
        )
    }
}

/// Generates batches that an engine might commit, and applies them to a model.
#[derive(Debug)]
pub(crate) struct Driver {
    random: Random,
    next_id: u64,
}

impl Driver {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::seeded(seed),
            next_id: 1,
        }
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.random.between(0, limit - 1)
    }

    fn writer(&mut self) -> Option<WriterState> {
        let progress = match self.below(4) {
            0 => return None,
            1 => Progress::Sequence(self.below(1000).to_string().into()),
            _ => Progress::Producer(ProducerState {
                epoch: self.below(3),
                seq: self.below(100),
            }),
        };
        let used_at = self.below(1000);
        Some(WriterState { progress, used_at })
    }

    /// Changes `model` and returns the batch that makes the same change to a store.
    pub(crate) fn batch(&mut self, model: &mut Model, max_append: u64) -> Vec<Change> {
        let steps = 1 + self.below(12);
        let mut batch = Vec::new();
        for _ in 0..steps {
            let text = format!("room/{}", self.below(24));
            let kind = self.below(20);
            let Some((record, bytes, writers)) = model.streams.get_mut(&text) else {
                let id = self.next_id;
                self.next_id += 1;
                let record = StreamRecord {
                    start: if self.below(4) == 0 { self.below(5000) } else { 0 },
                    due_at: (self.below(3) == 0).then_some(1 + self.below(1000)),
                    ..record(id)
                };
                batch.push(put(&text, record.clone()));
                model.streams.insert(text, (record, Vec::new(), HashMap::new()));
                continue;
            };
            match kind {
                0 => {
                    batch.push(remove(&text, record.id));
                    model.streams.remove(&text);
                }
                1 => {
                    record.closed = !record.closed;
                    record.due_at = (self.below(2) == 0).then_some(1 + self.below(1000));
                    record.stream_seq = Some(self.below(1000).to_string());
                    batch.push(put(&text, record.clone()));
                }
                2 => {
                    let given_up = self.below(bytes.len() as u64 + 1);
                    bytes.drain(..usize::try_from(given_up).unwrap());
                    let first = record.first() + given_up;
                    record.retention = Some(Box::new(Retention {
                        earliest: first,
                        given_up: first,
                        ..Retention::default()
                    }));
                    batch.push(put(&text, record.clone()));
                }
                _ => {
                    let len = if self.below(10) == 0 {
                        self.below(max_append)
                    } else {
                        self.below(300)
                    };
                    let fill = self.below(251);
                    let data: Vec<u8> = (0..len).map(|k| (k * 31 + fill) as u8).collect();
                    batch.push(append(record.id, record.first() + bytes.len() as u64, &data));
                    bytes.extend_from_slice(&data);
                    if kind < 6 {
                        let (id, key) = (record.id, format!("p{}", self.below(3)));
                        let state = self.writer();
                        match state.clone() {
                            Some(state) => _ = writers.insert(key.clone(), state),
                            None => _ = writers.remove(&key),
                        }
                        batch.push(Change::Writer { id, key, state });
                    }
                }
            }
        }
        batch
    }
}
