//! The state that streams keep of their writers: epoch and sequence of idempotent producers
//! (section 5.2.1), and the last `Stream-Seq` of each scope (section 5.2).
//!
//! Only the committer uses it, so a stream's writers are read from the store once, changed here
//! while a batch is put together, and dropped if that batch fails.

mod tables;

use std::collections::HashMap;

pub(super) use self::tables::WriterTables;
use crate::{
    protocol::Millis,
    storage::{Progress, WriterState},
};

/// An eviction removes one in this many writers at once, so that most appends need no search for
/// the least recently used one.
const EVICTED_PART: usize = 16;
/// The most that one eviction removes.
const MAX_EVICTED: usize = 1024;
/// One scope may hold one in this many of the writers that all scopes together may have.
const SCOPE_PART: usize = 16;
/// Every scope may hold at least this many writers.
const MIN_SCOPE_WRITERS: usize = 4;

/// Sets one writer's producers and `Stream-Seq` apart from everybody else's: writers of different
/// scopes neither fence nor see one another. Writers without a scope share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterScope([u8; 16]);

impl WriterScope {
    /// The scope of the writer with this digest. Stored with the stream, so it must not change
    /// from one request to the next.
    #[must_use]
    pub fn new(digest: [u8; 16]) -> Self {
        Self(digest)
    }
}

/// The first byte of scoped keys. No header value contains it, so no producer id begins with it.
const SCOPED: char = '\0';
/// The length of a scope in a key.
const SCOPE_LEN: usize = 1 + 2 * 16;

/// The key that a producer is kept under.
pub(super) fn producer_key(scope: Option<WriterScope>, id: String) -> String {
    match scope {
        Some(scope) => scope_key(scope) + &id,
        None => id,
    }
}

/// The key that a scope's `Stream-Seq` is kept under. No producer has it, because their ids are not
/// empty.
pub(super) fn scope_key(WriterScope(digest): WriterScope) -> String {
    format!("{SCOPED}{:032x}", u128::from_be_bytes(digest))
}

fn scope_of(key: &str) -> Option<&str> {
    key.starts_with(SCOPED).then(|| key.get(..SCOPE_LEN)).flatten()
}

/// The bytes that one stream's writers can occupy at most.
pub(super) fn max_size(limit: usize) -> u64 {
    const MAX_KEY: u64 = SCOPE_LEN as u64 + 256;
    const MAX_SEQUENCE: u64 = 256;
    2 * limit as u64 * (WriterState::OVERHEAD + MAX_KEY + MAX_SEQUENCE)
}

/// The writers of one stream.
#[derive(Debug, Default)]
pub(super) struct Writers {
    known: HashMap<Box<str>, Known>,
    /// How many writers each scope has.
    scopes: HashMap<Box<str>, usize>,
    /// How many all scopes have.
    scoped: usize,
    size: u64,
    uses: u64,
}

/// A writer that was evicted, and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Evicted {
    pub(super) key: String,
    pub(super) progress: Progress,
}

#[derive(Debug)]
struct Known {
    state: WriterState,
    /// Later uses have greater numbers.
    last_use: u64,
}

impl Writers {
    fn of(mut stored: Vec<(String, WriterState)>) -> Self {
        stored.sort_by_key(|(_, state)| state.used_at);
        let mut writers = Self::default();
        for (key, state) in stored {
            writers.insert(&key, state);
        }
        writers
    }

    /// The bytes that they occupy.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Where a writer stands.
    pub(super) fn progress(&self, key: &str) -> Option<&Progress> {
        Some(&self.known.get(key)?.state.progress)
    }

    /// Notes where a writer stands. Returns the writers that were evicted for it, those unused
    /// for longest first: `limit` are kept without a scope, and as many of all scopes together.
    fn set(&mut self, key: &str, state: WriterState, limit: usize) -> Vec<Evicted> {
        self.insert(key, state);
        let share = (limit / SCOPE_PART).max(MIN_SCOPE_WRITERS).min(limit);
        let unscoped = self.known.len() - self.scoped;
        match scope_of(key) {
            None => self.evict(unscoped, limit, |key| scope_of(key).is_none()),
            Some(scope) => {
                let own = self.scopes.get(scope).copied().unwrap_or(0);
                let mut evicted = self.evict(own, share, |key| scope_of(key) == Some(scope));
                evicted.extend(self.evict(self.scoped, limit, |key| scope_of(key).is_some()));
                evicted
            }
        }
    }

    /// Evicts the writers unused since `before`. Returns them.
    fn evict_unused(&mut self, before: Millis) -> Vec<Evicted> {
        let unused = self.known.iter().filter(|(_, known)| known.state.used_at < before);
        let unused: Vec<String> = unused.map(|(key, _)| (**key).to_owned()).collect();
        self.remove_all(unused)
    }

    fn evict(&mut self, count: usize, limit: usize, may_go: impl Fn(&str) -> bool) -> Vec<Evicted> {
        if count <= limit {
            return Vec::new();
        }
        let number = (count - limit).max(limit / EVICTED_PART).min(MAX_EVICTED);
        let candidates = self.known.iter().filter(|(key, _)| may_go(key));
        let mut oldest: Vec<(u64, &str)> = candidates.map(|(key, known)| (known.last_use, &**key)).collect();
        if number < oldest.len() {
            oldest.select_nth_unstable(number);
            oldest.truncate(number);
        }
        let evicted: Vec<String> = oldest.into_iter().map(|(_, key)| key.to_owned()).collect();
        self.remove_all(evicted)
    }

    fn remove_all(&mut self, keys: Vec<String>) -> Vec<Evicted> {
        let remove = |key: String| {
            let progress = self.remove(&key)?;
            Some(Evicted { key, progress })
        };
        keys.into_iter().filter_map(remove).collect()
    }

    fn insert(&mut self, key: &str, state: WriterState) {
        self.uses += 1;
        self.size += state.size(key);
        let known = Known {
            state,
            last_use: self.uses,
        };
        if let Some(old) = self.known.get_mut(key) {
            let before = std::mem::replace(old, known);
            self.size -= before.state.size(key);
            return;
        }
        if let Some(scope) = scope_of(key) {
            self.scoped += 1;
            *self.scopes.entry(scope.into()).or_default() += 1;
        }
        self.known.insert(key.into(), known);
    }

    fn remove(&mut self, key: &str) -> Option<Progress> {
        let known = self.known.remove(key)?;
        self.size -= known.state.size(key);
        if let Some(scope) = scope_of(key) {
            self.scoped -= 1;
            if let Some(count) = self.scopes.get_mut(scope) {
                *count -= 1;
                if *count == 0 {
                    self.scopes.remove(scope);
                }
            }
        }
        Some(known.state.progress)
    }
}

#[cfg(test)]
mod tests;
