//! The streams that live readers of this server follow, by id.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    engine::stream::Stream,
    storage::{Changed, StreamId},
};

#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<HashMap<StreamId, Entry>>);

#[derive(Debug)]
struct Entry {
    stream: Arc<Stream>,
    readers: usize,
}

/// Counts as a live reader of a stream until it is dropped.
#[derive(Debug)]
pub(in crate::engine) struct Followed {
    stream: Arc<Stream>,
    registry: Arc<Registry>,
}

impl Followed {
    pub(in crate::engine) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let mut streams = self.registry.0.lock();
        let Some(entry) = streams.get_mut(&self.stream.id) else {
            return;
        };
        // After a change of history, the entry is of another stream with this id.
        if Arc::ptr_eq(&entry.stream, &self.stream) {
            entry.readers -= 1;
            if entry.readers == 0 {
                streams.remove(&self.stream.id);
            }
        }
    }
}

impl Registry {
    pub(super) fn follow(self: &Arc<Self>, stream: Arc<Stream>) -> Followed {
        let mut streams = self.0.lock();
        let entry = streams.entry(stream.id).or_insert_with(|| Entry {
            stream: Arc::clone(&stream),
            readers: 0,
        });
        // The store has another history. One that is outdated never takes the place of the present one.
        if !Arc::ptr_eq(&entry.stream, &stream) && stream.gone().is_none() {
            *entry = Entry {
                stream: Arc::clone(&stream),
                readers: 0,
            };
        }
        if Arc::ptr_eq(&entry.stream, &stream) {
            entry.readers += 1;
        }
        drop(streams);
        Followed {
            stream,
            registry: Arc::clone(self),
        }
    }

    pub(super) fn get(&self, id: StreamId) -> Option<Arc<Stream>> {
        self.0.lock().get(&id).map(|entry| Arc::clone(&entry.stream))
    }

    pub(super) fn has(&self, id: StreamId) -> bool {
        self.0.lock().contains_key(&id)
    }

    /// Those of the changes that are to streams followed here.
    pub(super) fn known<'c>(&self, changes: &'c [Changed]) -> Vec<&'c Changed> {
        let streams = self.0.lock();
        changes
            .iter()
            .filter(|change| streams.contains_key(&change.id))
            .collect()
    }

    pub(super) fn ids(&self) -> Vec<StreamId> {
        self.0.lock().keys().copied().collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Stream>> {
        let streams = self.0.lock();
        streams.values().map(|entry| Arc::clone(&entry.stream)).collect()
    }
}
